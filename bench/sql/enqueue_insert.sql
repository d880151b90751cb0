\set n :n + 1
\set user 10000000 + :first + :n * :clients + :client_id
\set secret random(1, 4000000000000000000)
INSERT INTO bench.entry (queue_id, user_id, secret, status, entered_at) VALUES (1, :user, :secret, 'waiting', now());
