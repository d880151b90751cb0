-- Each call another seat, in no order.
\set n :n + 1
\set k permute(:first + :n * :clients + :client_id, :seats, 1)
\set performance 1 + :k / 50
\set seat 1 + :k % 50
\set user random(1, :users)
SELECT * FROM ticket.seat_hold(:performance, ARRAY[:seat]::int[], :user);
