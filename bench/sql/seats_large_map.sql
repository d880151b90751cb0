-- The same seats, drawn.
\set section :concerts + random(1, 20)
SELECT * FROM ticket.seat_map(:concerts + 1, :section);
