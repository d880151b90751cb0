-- The extensions and their jobs: from now on pg_cron keeps a runner going.

SET client_min_messages = warning;
CREATE EXTENSION pg_cron;
CREATE EXTENSION ticket;
\o /dev/null
SELECT ticket.schedule_jobs();
