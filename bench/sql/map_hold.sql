-- Holds a random seat of the stadium that no other client holds, and lets it go.
\set seat 1 + :client_id + :clients * random(0, 50000 / :clients - 1)
\set user :client_id + 1
SELECT reservation_id AS r FROM ticket.seat_hold(:performance, ARRAY[:seat]::int[], :user) \gset
SELECT ticket.seat_release(:r, :user);
