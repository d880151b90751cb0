/*
 * run.sql
 *		The clock of the sale and its jobs.
 */

CREATE PROCEDURE ticket.run(duration interval DEFAULT '1 minute')
	LANGUAGE c AS 'MODULE_PATHNAME', 'ticket_run';
COMMENT ON PROCEDURE ticket.run(interval) IS
	'Runs the clock of the sale for that long: promotes and tidies the moment it is due. One per database; a second returns at once';

CREATE FUNCTION ticket.tick(OUT promoted int, OUT expired_tickets int, OUT expired_holds int, OUT more boolean)
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'ticket_tick';
COMMENT ON FUNCTION ticket.tick() IS
	'One round of what run does, for those with a scheduler of their own; more says that a call at once would find more holds, tickets or events to see to';

/*
 * pg_cron lives in one database of the server.  There its jobs can be made
 * from here; for another database its function schedule_in_database has to be
 * called over there, so all we can do is say how.
 */
CREATE FUNCTION ticket.schedule_jobs() RETURNS bigint
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	home text := current_setting('cron.database_name', true);
	name text := format('ticket run in %s', current_database());
	mine constant text := 'CALL ticket.run()';
	job bigint;
BEGIN
	IF home IS NULL THEN
		PERFORM ticket.raise_error('scheduler_missing', 'pg_cron is not loaded',
			hint => 'Install it, add pg_cron to shared_preload_libraries and restart the server; or call ticket.tick() from a scheduler of your own.');
	END IF;
	IF NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_cron') THEN
		PERFORM ticket.raise_error('scheduler_missing', 'pg_cron is not in this database',
			format('cron.database_name is "%s", this is "%s".', home, current_database()),
			CASE WHEN home = current_database() THEN 'CREATE EXTENSION pg_cron;'
				ELSE format('In database "%s": SELECT cron.schedule_in_database(%L, ''* * * * *'', ''CALL ticket.run()'', %L);',
					home, name, current_database()) END);
	END IF;
	-- A restore, a standby or a new port leaves jobs that log in elsewhere: a
	-- copy of the sale would run the clock of the original.
	EXECUTE $stray$
		SELECT count(cron.unschedule(j.jobid)) FROM cron.job j
		WHERE j.jobname LIKE 'ticket run in %'
			AND (j.nodename <> current_setting('cron.host') OR j.nodeport <> current_setting('port')::int
				OR NOT EXISTS (SELECT FROM pg_database d WHERE d.datname = j.database)
				OR NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = j.username))$stray$;
	EXECUTE 'SELECT cron.schedule($1, ''* * * * *'', $2)' INTO job USING name, mine;
	-- What never ended has no end_time, what never began no time at all: that
	-- goes with the next that has.
	EXECUTE 'SELECT cron.schedule($1, ''17 * * * *'', $2)' USING name || ' (purge)', format('DELETE FROM cron.job_run_details '
		'WHERE (command = %L OR command LIKE ''DELETE FROM cron.job_run_details %%'') AND runid <= (SELECT max(runid) '
		'FROM cron.job_run_details WHERE coalesce(end_time, start_time) < now() - interval ''1 day'')', mine);
	RETURN job;
END $$;
COMMENT ON FUNCTION ticket.schedule_jobs() IS
	'Registers run with pg_cron, once a minute, and an hourly purge of its log; returns the number of the job. Jobs of this extension that log in to another server, or to what is not there, are taken out. Calling it again changes nothing';

CREATE FUNCTION ticket.unschedule_jobs() RETURNS int
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	name text := format('ticket run in %s', current_database());
	n int;
BEGIN
	IF to_regclass('cron.job') IS NULL THEN
		RETURN 0;
	END IF;
	EXECUTE 'SELECT count(cron.unschedule(j.jobid)) FROM cron.job j WHERE j.jobname IN ($1, $2)'
		INTO n USING name, name || ' (purge)';
	RETURN n;
END $$;
COMMENT ON FUNCTION ticket.unschedule_jobs() IS
	'Takes the jobs of schedule_jobs out of pg_cron; returns how many there were';

SELECT ticket.permit('{operator}', 'EXECUTE', '{run,tick}');
