/*
 * history.sql
 *		Who held, released, lost and bought which seat when, and what was blocked.
 *
 * The events that have left the outbox, by month.  A sale writes its event and
 * nothing more; whoever takes it out of the outbox keeps it here.
 *
 * The partitions of months are made as time goes by, so they cannot be members
 * of the extension: pg_dump saves them as the tables they are, with their data
 * and their indexes, and attaches them to the parent that CREATE EXTENSION has
 * made.  Therefore the parent has no index of its own, which would make one on
 * each of them as it is attached.
 */

CREATE TABLE ticket.history (
	at				timestamptz NOT NULL,
	event_id		uuid NOT NULL,
	type			text NOT NULL,
	reservation_id	bigint,
	performance_id	bigint,
	user_id			text,
	seat_ids		int[],
	details			jsonb NOT NULL,
	trace_id		text
) PARTITION BY RANGE (at);
CREATE TABLE ticket.history_default PARTITION OF ticket.history DEFAULT;
CREATE INDEX history_default_user ON ticket.history_default (user_id, at);
CREATE INDEX history_default_reservation ON ticket.history_default (reservation_id, at);
CREATE INDEX history_default_performance ON ticket.history_default (performance_id, at);
COMMENT ON TABLE ticket.history IS
	'Events of reservations and seats that have left the outbox, a partition a month (history_2026_11); read them with history()';
COMMENT ON TABLE ticket.history_default IS
	'Events of months that have no partition yet; history_extend takes them over';
DO $$
DECLARE
	item record;
BEGIN
	FOR item IN
		SELECT t.name, c.name AS "column", c.comment FROM (VALUES ('history'), ('history_default')) AS t(name), (VALUES
			('at', 'When it happened, by the server''s clock'),
			('event_id', 'Number of the event: outbox.id'),
			('type', 'What happened; see event_types'),
			('reservation_id', 'Which reservation'),
			('performance_id', 'Which performance'),
			('user_id', 'Whose it was'),
			('seat_ids', 'The seats concerned: those given back where only some were'),
			('details', 'What else the event told'),
			('trace_id', 'The trace the call belonged to')) AS c(name, comment)
	LOOP
		EXECUTE format('COMMENT ON COLUMN ticket.%I.%I IS %L', item.name, item."column", item.comment);
	END LOOP;
END $$;

CREATE FUNCTION ticket.event_history(id uuid, type text, payload jsonb) RETURNS SETOF ticket.history
	LANGUAGE sql STABLE
BEGIN ATOMIC
	SELECT coalesce(ticket.event_time($1), now()), $1, $2, ($3 ->> 'reservation_id')::bigint,
		($3 ->> 'performance_id')::bigint, $3 ->> 'user_id',
		CASE WHEN $3 ? 'seat_ids' THEN array(
			SELECT seat::int FROM jsonb_array_elements_text(
				coalesce($3 -> 'released_seat_ids', $3 -> 'cancelled_seat_ids', $3 -> 'seat_ids')) AS seat) END,
		$3 - '{v,reservation_id,performance_id,user_id,trace_id,released_seat_ids,cancelled_seat_ids}'::text[]
			- CASE WHEN $3 ?| '{released_seat_ids,cancelled_seat_ids}' THEN '' ELSE 'seat_ids' END,
		$3 ->> 'trace_id'
	WHERE $3 ?| '{reservation_id,seat_ids}';
END;
COMMENT ON FUNCTION ticket.event_history(uuid, text, jsonb) IS
	'An event as a row of the history; none if it is about no reservation and no seats';

CREATE FUNCTION ticket.history_extend(months int DEFAULT 1) RETURNS int
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
	month timestamp := date_trunc('month', now() AT TIME ZONE 'UTC');
	name text;
	made int := 0;
BEGIN
	PERFORM ticket.require_primary();
	PERFORM ticket.check_argument(months BETWEEN 0 AND 120, 'months must be between 0 and 120');
	FOR i IN 0 .. months LOOP
		name := to_char(month, '"history_"YYYY_MM');
		IF to_regclass('ticket.' || name) IS NULL THEN
			BEGIN
				LOCK TABLE ONLY ticket.history IN SHARE UPDATE EXCLUSIVE MODE NOWAIT;
				LOCK TABLE ticket.history_default IN ACCESS EXCLUSIVE MODE NOWAIT;
			EXCEPTION WHEN lock_not_available THEN
				-- Somebody reads or writes there: the next round comes soon.
				RETURN made;
			END;
			IF to_regclass('ticket.' || name) IS NULL THEN
				EXECUTE format('CREATE TABLE ticket.%I (LIKE ticket.history INCLUDING COMMENTS)', name);
				EXECUTE format('WITH gone AS (DELETE FROM ticket.history_default WHERE at >= %L AND at < %L RETURNING *)
					INSERT INTO ticket.%I SELECT * FROM gone', month AT TIME ZONE 'UTC',
					(month + interval '1 month') AT TIME ZONE 'UTC', name);
				EXECUTE format('CREATE INDEX %I ON ticket.%I (user_id, at)', name || '_user', name);
				EXECUTE format('CREATE INDEX %I ON ticket.%I (reservation_id, at)', name || '_reservation', name);
				EXECUTE format('CREATE INDEX %I ON ticket.%I (performance_id, at)', name || '_performance', name);
				-- Not a member of the extension, so tools take it for a table of the
				-- user's: PostGraphile leaves out what is marked so.
				EXECUTE format('COMMENT ON TABLE ticket.%I IS %L', name,
					'@omit' || chr(10) || to_char(month, '"Events of "YYYY-MM", UTC"'));
				EXECUTE format('ALTER TABLE ticket.history ATTACH PARTITION ticket.%I FOR VALUES FROM (%L) TO (%L)', name,
					month AT TIME ZONE 'UTC', (month + interval '1 month') AT TIME ZONE 'UTC');
				made := made + 1;
			END IF;
		END IF;
		month := month + interval '1 month';
	END LOOP;
	RETURN made;
END $$;
COMMENT ON FUNCTION ticket.history_extend(int) IS
	'Makes the partitions of this month and of so many to come that are not there yet; returns how many. Never waits; run and tick call it';

CREATE FUNCTION ticket.history_drop(before date) RETURNS int
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
DECLARE
	partition regclass;
	dropped int := 0;
BEGIN
	PERFORM ticket.require_primary();
	PERFORM ticket.check_argument(isfinite(before), 'before must be given and not be infinite');
	-- One at a time, or the second would drop what the first has dropped.
	LOCK TABLE ONLY ticket.history IN SHARE UPDATE EXCLUSIVE MODE;
	FOR partition IN
		SELECT i.inhrelid FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
		WHERE i.inhparent = 'ticket.history'::regclass AND c.relname ~ '^history_\d{4}_\d\d$'
			AND to_date(c.relname, '"history_"YYYY_MM') + interval '1 month' <= before
		ORDER BY c.relname
	LOOP
		EXECUTE format('DROP TABLE %s', partition);
		dropped := dropped + 1;
	END LOOP;
	DELETE FROM ticket.history_default WHERE at < date_trunc('month', before::timestamp) AT TIME ZONE 'UTC';
	RETURN dropped;
END $$;
COMMENT ON FUNCTION ticket.history_drop(date) IS
	'Forgets the history of the months that ended before that date; returns how many partitions were dropped';

CREATE FUNCTION ticket.history(
	user_id text DEFAULT NULL,
	reservation_id bigint DEFAULT NULL,
	performance_id bigint DEFAULT NULL,
	seat_id int DEFAULT NULL,
	since timestamptz DEFAULT NULL,
	until timestamptz DEFAULT NULL,
	max_count int DEFAULT 1000
) RETURNS SETOF ticket.history
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	filter text := concat_ws(' AND ',
		CASE WHEN user_id IS NOT NULL THEN 'h.user_id = $1' END,
		CASE WHEN reservation_id IS NOT NULL THEN 'h.reservation_id = $2' END,
		CASE WHEN performance_id IS NOT NULL THEN 'h.performance_id = $3' END,
		CASE WHEN seat_id IS NOT NULL THEN '$4 = ANY (h.seat_ids)' END,
		CASE WHEN since IS NOT NULL THEN 'h.at >= $5' END,
		CASE WHEN until IS NOT NULL THEN 'h.at < $6' END);
BEGIN
	PERFORM ticket.require_preload();
	PERFORM ticket.check_argument(coalesce(user_id, reservation_id::text, performance_id::text) IS NOT NULL,
		'user_id, reservation_id or performance_id must be given');
	PERFORM ticket.check_argument(seat_id IS NULL OR performance_id IS NOT NULL,
		'seat_id needs performance_id');
	PERFORM ticket.check_argument(max_count BETWEEN 1 AND 100000, 'max_count must be between 1 and 100000');
	-- While a month is attached its rows move: they are looked for afterwards.
	LOCK TABLE ONLY ticket.history, ONLY ticket.history_default IN ACCESS SHARE MODE;
	-- Planned for the arguments there are; the outbox is short, or somebody should look at it.
	RETURN QUERY EXECUTE format('SELECT h.* FROM (
			SELECT h.* FROM ticket.history h WHERE %1$s
			UNION ALL
			SELECT h.* FROM ticket.outbox o, LATERAL ticket.event_history(o.id, o.type, o.payload) h WHERE %1$s) h
		ORDER BY h.at, h.event_id LIMIT $7', filter)
		USING user_id, reservation_id, performance_id, seat_id, since, until, max_count;
END $$;
COMMENT ON FUNCTION ticket.history(text, bigint, bigint, int, timestamptz, timestamptz, int) IS
	'What happened to a user, a reservation, a performance or a seat of it, in order: what is kept and what still waits in the outbox';

SELECT ticket.permit('{operator,auditor}', 'EXECUTE', '{history}');
SELECT ticket.permit('{operator}', 'EXECUTE', '{history_extend,history_drop}');
SELECT ticket.permit('{operator,auditor}', 'SELECT', '{history,history_default}');
