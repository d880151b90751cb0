-- Each call another of the holds that holds.sql has made, in no order.
\set n :n + 1
\set k permute(:first + :n * :clients + :client_id, :seats, 1)
\set reservation 10000001 + :k
\set user 1 + :k % :users
SELECT * FROM ticket.pay_reservation(:reservation, :user);
