-- Each call as many other users as `fans` says.
\set n :n + 1
\set from 10000000000 + (:first + :n * :clients + :client_id) * :fans
SELECT count(token) FROM ticket.ticket_enqueue_many(1, ARRAY(SELECT (:from::bigint + i)::text FROM generate_series(1, :fans::int) AS i));
