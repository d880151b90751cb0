-- The history: what it keeps of an event, who asks it what, its partitions, and
-- the retention that feeds it.
\unset ECHO
\getenv test PG_ABS_SRCDIR
\set begin :test '/sql/begin.psql'
\i :begin
SET search_path = ticket, public;

-- What other tests have left
SELECT count(*) AS n FROM outbox_fetch(100000) \gset

-- A seat goes from hand to hand: anna lets it expire, ben gives it back, carl
-- buys it with another and gives it back; dora, who wants both, comes too late.
SELECT pg_temp.sale(price => 10) AS p \gset
SELECT count(point_charge('history-carl', 100)) AS n \gset
SET ticket.trace_id = 'click-1';
SELECT reservation_id AS anna FROM seat_hold(:p, '{1}', 'history-anna') \gset
RESET ticket.trace_id;
SET ticket.clock_offset = '6min';
SELECT reservation_id AS ben FROM seat_hold(:p, '{1,2}', 'history-ben') \gset
SELECT seat_release(:ben, 'history-ben', '{2}') AS done \gset
SELECT seat_release(:ben, 'history-ben') AS done \gset
RESET ticket.clock_offset;
SELECT reservation_id AS carl FROM seat_hold(:p, '{1,3}', 'history-carl') \gset
SELECT clock_timestamp() AS refused_at, pg_temp.refusal(format('SELECT seat_hold(%s, $${1,3}$$, $$history-dora$$)', :p)) AS refused \gset
SELECT is(:'refused'::text, 'TK006', 'dora is refused');
SELECT count(pay_reservation(:carl, 'history-carl')) AS n, count(reservation_cancel(:carl, 'history-carl', '{1}')) AS m \gset

CREATE FUNCTION pg_temp.told(h ticket.history) RETURNS text LANGUAGE sql AS $$
	SELECT format('%s %s %s', substr(h.user_id, 9), split_part(h.type, '.', 2), array_to_string(h.seat_ids, '+')) $$;
CREATE FUNCTION pg_temp.asked() RETURNS SETOF text LANGUAGE sql AS $$
	SELECT is((SELECT array_agg(pg_temp.told(h)) FROM ticket.history(performance_id => current_setting('test.p')::bigint, seat_id => 1) h),
		'{anna held 1,anna expired 1,ben held 1+2,ben released 1,carl held 1+3,carl paid 1+3,carl cancelled 1}', 'what became of a seat, in order')
	UNION ALL
	SELECT is((SELECT array_agg(pg_temp.told(h)) FROM ticket.history(performance_id => current_setting('test.p')::bigint, seat_id => 2) h),
		'{ben held 1+2,ben released 2}', 'of another')
	UNION ALL
	SELECT is((SELECT count(*) FROM ticket.history(performance_id => current_setting('test.p')::bigint, seat_id => 4) h), 0::bigint, 'of one that nobody wanted')
	UNION ALL
	SELECT is((SELECT array_agg(pg_temp.told(h)) FROM ticket.history('history-ben') h), '{ben held 1+2,ben released 2,ben released 1}', 'what a user did')
	UNION ALL
	SELECT is((SELECT array_agg(pg_temp.told(h)) FROM ticket.history(reservation_id => current_setting('test.anna')::bigint) h), '{anna held 1,anna expired 1}',
		'why anna lost: a reservation')
	UNION ALL
	SELECT is((SELECT array_agg(pg_temp.told(h)) FROM ticket.history(performance_id => current_setting('test.p')::bigint, seat_id => 1,
		until => current_setting('test.refused_at')::timestamptz, max_count => 100000) h), '{anna held 1,anna expired 1,ben held 1+2,ben released 1,carl held 1+3}',
		'why dora lost: who had the seat at that moment')
	UNION ALL
	SELECT is((SELECT array_agg(pg_temp.told(h)) FROM ticket.history(performance_id => current_setting('test.p')::bigint, seat_id => 1,
		since => current_setting('test.refused_at')::timestamptz) h), '{carl paid 1+3,carl cancelled 1}', 'and what came after')
	UNION ALL
	SELECT is((SELECT count(*) FROM ticket.history(performance_id => current_setting('test.p')::bigint, max_count => 3) h), 3::bigint, 'no more than asked for')
	UNION ALL
	SELECT is((SELECT count(*) FROM ticket.history('history-ben', reservation_id => current_setting('test.anna')::bigint) h), 0::bigint, 'all that is given must hold')
	UNION ALL
	SELECT is((SELECT array_agg(DISTINCT h.trace_id) FROM ticket.history('history-anna') h), '{click-1,NULL}', 'with the trace of each')
	UNION ALL
	SELECT is((SELECT string_agg(h.details::text, ' ' ORDER BY h.at) FROM ticket.history('history-ben') h WHERE h.type = 'reservation.released'),
		'{"amount": 10, "status": "held", "seat_ids": [1]} {"amount": 10, "status": "released", "seat_ids": [1]}', 'and the rest of what the event told')$$;
SELECT set_config('test.p', :'p', false) AS n, set_config('test.anna', :'anna', false) AS m, set_config('test.refused_at', :'refused_at', false) AS o \gset
SELECT pg_temp.asked();
SELECT is((SELECT count(*) FROM history WHERE performance_id = :p), 0::bigint, 'all that came from the outbox');
SELECT array_agg(h ORDER BY h.at) AS before FROM history(performance_id => :p) h \gset
SELECT count(*) AS n FROM outbox_fetch(4) \gset
SELECT is((SELECT count(*) FROM history WHERE performance_id = :p), 3::bigint, 'what is fetched is kept');
SELECT pg_temp.asked();
BEGIN;
SELECT count(*) AS n FROM outbox_fetch(100000) \gset
ROLLBACK;
SELECT is((SELECT count(*) FROM history WHERE performance_id = :p), 3::bigint, 'unless the consumer rolls back');
SELECT count(*) AS n FROM outbox_fetch(100000) \gset
SELECT is((SELECT count(*) FROM history WHERE performance_id = :p), 8::bigint, 'all of it');
SELECT pg_temp.asked();
SELECT is((SELECT array_agg(h ORDER BY h.at) FROM history(performance_id => :p) h), :'before'::history[], 'and every column is the same as before');
SELECT is((SELECT count(*) FROM history WHERE type LIKE 'points.%'), 0::bigint, 'what is about no reservation is not');

-- ---------- partitions ----------

SELECT to_char(now() AT TIME ZONE 'UTC', '"history_"YYYY_MM') AS this, to_char(date_trunc('month', now() AT TIME ZONE 'UTC') + '1 month'::interval, '"history_"YYYY_MM') AS next \gset
CREATE FUNCTION pg_temp.partitions() RETURNS SETOF name LANGUAGE sql AS $$
	SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'ticket.history'::regclass ORDER BY 1 $$;
SELECT history_drop('9999-01-01') AS dropped \gset
SELECT results_eq('SELECT pg_temp.partitions()', $$VALUES ('history_default'::name)$$, 'without partitions');
SELECT is((SELECT count(*) FROM history), 0::bigint, 'and all forgotten');
INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload)
SELECT id, 'reservation', 1, 'reservation.expired', jsonb_build_object('v', 1, 'reservation_id', n, 'performance_id', 1, 'user_id', 'old', 'seat_ids', '[1]'::jsonb, 'amount', 1)
FROM (VALUES (1, '017f22e2-79b0-7cc3-98c4-dc0c0c07398f'::uuid), (2, event_id()), (3, gen_random_uuid())) AS e(n, id);
SELECT count(*) AS n FROM outbox_fetch() \gset
SELECT is((SELECT string_agg(format('%s %s', tableoid::regclass::name, reservation_id), ', ' ORDER BY reservation_id) FROM history),
	'history_default 1, history_default 2, history_default 3', 'events are kept in the default one');
SELECT is(history_extend(), 2, 'two are made');
SELECT results_eq('SELECT pg_temp.partitions()', format('SELECT unnest(%L::name[])', ARRAY[:'this', :'next', 'history_default']), 'this month and the next');
SELECT is(history_extend(), 0, 'once');
SELECT is((SELECT string_agg(c.relname, ', ') FROM pg_class c WHERE c.relname ~ '^history_\d{4}_\d\d$' AND obj_description(c.oid, 'pg_class') !~ '^@omit\n'), NULL, 'marked as not to be taken for a table of the user');
SELECT is((SELECT string_agg(format('%s %s', replace(tableoid::regclass::name::text, :'this', 'this'), reservation_id), ', ' ORDER BY reservation_id) FROM history),
	'history_default 1, this 2, this 3', 'and take over what is theirs');
SELECT is(history_extend(13), 12, 'more of them');
SELECT is((SELECT count(*) FROM pg_indexes WHERE schemaname = 'ticket' AND tablename ~ '^history_'), 45::bigint, 'each with its indexes');
SELECT is(history_drop((date_trunc('month', now() AT TIME ZONE 'UTC'))::date), 0, 'this month stays');
SELECT is((SELECT string_agg(reservation_id::text, ', ' ORDER BY reservation_id) FROM history), '2, 3', 'what is older goes from the default one as well');
SELECT is(history_drop((date_trunc('month', now() AT TIME ZONE 'UTC') + '2 months - 1 day'::interval)::date), 1, 'a month goes when it is over');
SELECT is((SELECT count(*) FROM history), 0::bigint, 'with what it had');
SELECT is(history_drop('9999-01-01'), 13, 'and so do the others');

-- ---------- retention ----------

SELECT count(point_charge('history-r', n)) AS n FROM generate_series(1, 3) AS n \gset
SELECT reservation_id AS r FROM seat_hold(:p, '{5}', 'history-r') \gset
SELECT count(tick()) AS n \gset
CREATE FUNCTION pg_temp.mine() RETURNS bigint LANGUAGE sql AS $$ SELECT count(*) FROM ticket.outbox WHERE payload ->> 'user_id' = 'history-r' $$;
SELECT is(pg_temp.mine(), 4::bigint, 'within the retention they wait');
SELECT is((SELECT events FROM outbox_stats), (SELECT count(*) FROM outbox), 'counted');
SELECT is((SELECT reservation_events FROM outbox_stats), (SELECT count(*) FROM outbox WHERE type LIKE 'reservation.%'), 'those about a reservation');
SELECT ok((SELECT oldest_age > '0' AND oldest_at < now() FROM outbox_stats), 'and have an age');
SET ticket.outbox_retention = -1;
UPDATE outbox SET id = '017f22e2-79b0-7cc3-98c4-dc0c0c07398f' WHERE type = 'reservation.held';
SELECT count(tick()) AS n \gset
SELECT is(pg_temp.mine(), 4::bigint, 'without one for ever');
SELECT ok((SELECT oldest_age > '4 years' FROM outbox_stats), 'however old');
SELECT ok((SELECT min(outbox_age) > '4 years' FROM sale_stats), 'sale_stats shows it, too');
RESET ticket.outbox_retention;
SELECT count(tick()) AS n \gset
SELECT is((SELECT array_agg(type) FROM outbox WHERE payload ->> 'user_id' = 'history-r'), '{points.charged,points.charged,points.charged}', 'what is older is retired');
SELECT is((SELECT array_agg(pg_temp.told(h)) FROM history('history-r') h), '{r held 5}', 'into the history');
SET ticket.outbox_retention = 0;
DO $$ BEGIN WHILE (SELECT more FROM ticket.tick()) LOOP NULL; END LOOP; END $$;
SELECT is((SELECT events FROM outbox_stats), 0::bigint, 'or everything at once');
SELECT is((SELECT oldest_at FROM outbox_stats), NULL, 'then there is no oldest');
SELECT is((SELECT max(outbox_age) FROM sale_stats), '0', 'nor in sale_stats');
INSERT INTO outbox (aggregatetype, aggregateid, type, payload)
SELECT 'points', 'history-' || n % 100, 'points.charged', jsonb_build_object('v', 1, 'user_id', 'history-' || n % 100, 'amount', 1, 'balance', n) FROM generate_series(1, 2500) AS n;
SELECT is((SELECT format('%s %s', t.more, (SELECT events FROM outbox_stats)) FROM tick() t), 't 2500', 'a round at a time, which says that there is more');
SELECT is((SELECT format('%s %s', t.more, (SELECT events FROM outbox_stats)) FROM tick() t), 't 1500', 'and again');
SELECT is((SELECT more FROM tick()), false, 'until it says that there is none');
SELECT is((SELECT events FROM outbox_stats), 0::bigint, 'batch by batch');
RESET ticket.outbox_retention;
SELECT pg_temp.refused(format('SET ticket.outbox_retention = %L', value), '22023') FROM unnest('{-2,x,1e30}'::text[]) AS value;
SELECT history_drop('9999-01-01') AS dropped \gset
SELECT is((SELECT string_agg(invariant, ', ') FROM verify() WHERE NOT ok), NULL, 'every invariant holds');
SELECT * FROM finish();
