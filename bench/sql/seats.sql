-- The section of 50 that is all of a performance.
\set performance random(1, :concerts)
SELECT * FROM ticket.seats(:performance, :performance);
