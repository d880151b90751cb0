\set performance random(1, :concerts)
SELECT * FROM ticket.seat WHERE performance_id = :performance;
