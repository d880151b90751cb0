-- One of the 20 sections of 50 of the last performance.
\set section :concerts + random(1, 20)
SELECT * FROM ticket.seats(:concerts + 1, :section);
