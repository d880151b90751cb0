-- The same seats, drawn.
\set performance random(1, :concerts)
SELECT * FROM ticket.seat_map(:performance, :performance);
