-- Each call another user.
\set n :n + 1
\set user 10000000 + :first + :n * :clients + :client_id
SELECT * FROM ticket.ticket_enqueue(1, :user);
