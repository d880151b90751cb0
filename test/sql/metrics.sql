-- metrics(): what is counted and what is shown.  That it is OpenMetrics, over
-- databases, sessions and restarts, is tested in t/010_metrics.pl.
\unset ECHO
\getenv test PG_ABS_SRCDIR
\set begin :test '/sql/begin.psql'
\i :begin

-- A sample by its name and labels; 0 when it is not there.
CREATE FUNCTION pg_temp.metric(sample text) RETURNS numeric LANGUAGE sql AS $$
	SELECT coalesce(sum(split_part(line, ' ', 2)::numeric), 0) FROM regexp_split_to_table(ticket.metrics(), '\n') AS line
	WHERE line LIKE replace(sample, '_', '\_') || ' %' $$;
-- By how much each has grown since the last call.
CREATE TEMP TABLE seen (sample text PRIMARY KEY, value numeric);
CREATE FUNCTION pg_temp.grown(sample text) RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE
	before numeric := (SELECT s.value FROM seen s WHERE s.sample = grown.sample);
	after numeric := pg_temp.metric(sample);
BEGIN
	INSERT INTO seen VALUES (sample, after) ON CONFLICT ON CONSTRAINT seen_pkey DO UPDATE SET value = after;
	RETURN after - before;
END $$;

-- What other tests have left
SET ticket.clock_offset = '2h';
SELECT count(ticket.tick()) AS n \gset
RESET ticket.clock_offset;

-- ---------- calls ----------

SELECT pg_temp.sale(price => 1) AS p, ticket.queue_create('metrics', capacity => 1) AS q \gset
SELECT token AS t FROM ticket.ticket_enqueue(:q, 'metrics-0') \gset
CREATE TEMP TABLE call (n int GENERATED ALWAYS AS IDENTITY, function text, call text);
INSERT INTO call (function, call) VALUES
	('ticket_enqueue', format('ticket.ticket_enqueue(%s, $$metrics-1$$)', :q)), ('ticket_status', format('ticket.ticket_status(%L)', :'t')),
	('ticket_leave', format('ticket.ticket_leave(%L)', :'t')), ('queue_create', 'ticket.queue_create($$q$$)'),
	('ticket_promote', format('ticket.ticket_promote(%s)', :q)), ('ticket_expire', format('ticket.ticket_expire(%s)', :q)),
	('ticket_find', format('ticket.ticket_find(%s, $$nobody$$)', :q)), ('queue_clear', format('ticket.queue_clear(%s, max_count => 0)', :q)),
	('seat_hold', format('ticket.seat_hold(%s, $${1}$$, $$metrics$$)', :p)), ('seat_release', 'ticket.seat_release(NULL, $$x$$)'),
	('seat_hold_expire', 'ticket.seat_hold_expire()'), ('reservation_cancel', 'ticket.reservation_cancel(-1, $$x$$)'),
	('pay_reservation', 'ticket.pay_reservation(-1, NULL)'), ('point_charge', 'ticket.point_charge($$metrics$$, -1)'),
	('point_balance', 'ticket.point_balance($$metrics$$)'), ('tick', 'ticket.tick()'), ('metrics', 'ticket.metrics()');
CREATE FUNCTION pg_temp.attempt(call text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE 'SELECT ' || call;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END $$;
SELECT count(pg_temp.grown(format('ticket_calls_total{function="%s"}', function))) AS n FROM call \gset
SELECT is(format('%s, grown by %s', pg_temp.attempt(c.call),
	pg_temp.grown(format('ticket_calls_total{function="%s"}', c.function)) - CASE c.function WHEN 'metrics' THEN
		(SELECT count(*) FROM call WHERE n <= c.n) ELSE 0 END),
	format('%s, grown by 1', CASE c.function WHEN 'seat_release' THEN '22023' WHEN 'reservation_cancel' THEN 'TK005'
		WHEN 'pay_reservation' THEN '22023' WHEN 'point_charge' THEN '22023' ELSE 'no error' END), 'a call is counted, refused or not: ' || c.function)
FROM (SELECT * FROM call ORDER BY n OFFSET 0) AS c;

-- ---------- refusals ----------

SELECT is((SELECT array_agg(m ORDER BY m) FROM regexp_matches(ticket.metrics(), 'ticket_refusals_total\{sqlstate="(\w+)",name="(\w+)"\}', 'g') AS m),
	(SELECT array_agg(ARRAY[sqlstate, name] ORDER BY sqlstate, name) FROM ticket.error_codes), 'each error has its counter from the start');
SELECT count(pg_temp.grown(format('ticket_refusals_total{sqlstate="%s",name="%s"}', sqlstate, name))) AS n FROM ticket.error_codes \gset
SELECT is(pg_temp.attempt(format('ticket.seat_hold(%s, $${1}$$, $$metrics$$)', :p)), 'TK006', 'one refusal');
SELECT is(pg_temp.attempt('ticket.raise_error($$not_found$$, $$x$$)'), 'TK005', 'another, from SQL');
SET ticket.http_errors = on;
SELECT is(pg_temp.attempt('ticket.raise_error($$not_found$$, $$x$$)'), 'PT404', 'and one for PostgREST');
RESET ticket.http_errors;
SELECT results_eq($$SELECT sqlstate, grown FROM (SELECT sqlstate, pg_temp.grown(format('ticket_refusals_total{sqlstate="%s",name="%s"}', sqlstate, name)) AS grown
		FROM ticket.error_codes) g WHERE grown <> 0 ORDER BY sqlstate$$,
	$$VALUES ('TK005', 2::numeric), ('TK006', 1)$$, 'are counted, nothing else');

-- ---------- events ----------

SELECT count(pg_temp.grown(format('ticket_events_total{type="%s"}', type))) AS n FROM ticket.event_types \gset
SELECT reservation_id AS r FROM ticket.seat_hold(:p, '{2}', 'metrics') \gset
BEGIN;
SAVEPOINT a;
SELECT reservation_id AS r2 FROM ticket.seat_hold(:p, '{3}', 'metrics') \gset
RELEASE a;
SELECT is(pg_temp.grown('ticket_events_total{type="reservation.held"}'), 1::numeric, 'an event counts when it commits, this transaction''s do not yet');
SAVEPOINT b;
SELECT count(ticket.seat_release(:r, 'metrics')) AS n \gset
ROLLBACK TO b;
SAVEPOINT c;
SELECT reservation_id AS r3 FROM ticket.seat_hold(:p, '{4}', 'metrics') \gset
RELEASE c;
COMMIT;
SELECT is(pg_temp.grown('ticket_events_total{type="reservation.held"}'), 2::numeric, 'now they do, of all savepoints that stayed');
BEGIN;
SELECT count(ticket.point_charge('metrics', 1)) AS n \gset
SELECT count(ticket.seat_release(:r, 'metrics')) AS n \gset
ROLLBACK;
SELECT is(pg_temp.grown('ticket_events_total{type="reservation.released"}') + pg_temp.grown('ticket_events_total{type="points.charged"}'), 0::numeric,
	'what is rolled back never does');

-- ---------- queues, jobs, outbox ----------

CREATE FUNCTION pg_temp.queue_metrics(queue bigint) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(format('%s %s', name, pg_temp.metric(format('ticket_queue_%s{queue="%s"}', name, queue))), ', ')
	FROM unnest('{waiting,active,capacity,entered_total,promoted_total,ended_total}'::text[]) AS name $$;
SELECT is(pg_temp.queue_metrics(:q), format('waiting %s, active %s, capacity %s, entered_total %s, promoted_total %s, ended_total %s',
	waiting, active, capacity, entered, promoted, ended), 'a queue is as in queue_stats') FROM ticket.queue_stats WHERE queue_id = :q;
SELECT is(pg_temp.queue_metrics(:q), 'waiting 1, active 0, capacity 1, entered_total 2, promoted_total 1, ended_total 1', 'which is right');
SELECT count(pg_temp.grown('ticket_queue_reads_total')) AS n \gset
SELECT is(pg_temp.grown('ticket_queue_reads_total'), 0::numeric, 'nobody has changed tickets by hand');
UPDATE ticket.queue_entry SET status = status WHERE queue_id = :q;
SELECT is(pg_temp.grown('ticket_queue_reads_total'), 1::numeric, 'when somebody has they are read anew');
SELECT is(pg_temp.metric('ticket_hold_overdue_seconds'), 0::numeric, 'no hold is overdue');
SELECT ticket.ticket_promote(:q) AS promoted \gset
SELECT is(pg_temp.metric('ticket_queue_overdue_seconds{queue="' || :q || '"}'), 0::numeric, 'no active ticket is');
SET ticket.clock_offset = '1h';
SELECT ok(pg_temp.metric('ticket_hold_overdue_seconds') BETWEEN 3300 AND 3300 + 100, 'an hour later the holds of five minutes are');
SELECT ok(pg_temp.metric('ticket_queue_overdue_seconds{queue="' || :q || '"}') BETWEEN 3000 AND 3000 + 100, 'and tickets of ten');
SELECT count(pg_temp.grown('ticket_rounds_total')), count(pg_temp.grown('ticket_round_seconds_total')) \gset n_
SELECT expired_holds >= 2 AS expired FROM ticket.tick() \gset
SELECT ok(:'expired', 'a round tidies them');
SELECT is(pg_temp.grown('ticket_rounds_total'), 1::numeric, 'and is counted');
SELECT ok(pg_temp.grown('ticket_round_seconds_total') > 0, 'with the time it took');
SELECT is(pg_temp.metric('ticket_hold_overdue_seconds'), 0::numeric, 'then none is overdue');
SELECT ok(pg_temp.metric('ticket_hold_lag_seconds') BETWEEN 3300 AND 3300 + 100, 'but the last was tidied late');
RESET ticket.clock_offset;
SELECT ok(pg_temp.metric('ticket_round_timestamp_seconds') BETWEEN extract(epoch FROM now()) - 100 AND extract(epoch FROM clock_timestamp()) + 1,
	'when the last round was');
SELECT is(pg_temp.metric('ticket_memory_places'), (SELECT sum(waiting + active) FROM ticket.queue_memory()), 'places in use');
SELECT is(pg_temp.metric('ticket_memory_places_max'), current_setting('ticket.max_waiting')::numeric, 'of so many');
SELECT is(pg_temp.metric('ticket_memory_queues_max'), current_setting('ticket.max_queues')::numeric, 'queues that have room');
DELETE FROM ticket.outbox;
SELECT is(pg_temp.metric('ticket_outbox_oldest_seconds'), 0::numeric, 'no event is left');
SELECT count(ticket.point_charge('metrics', 1)) AS n \gset
SELECT ok(pg_temp.metric('ticket_outbox_oldest_seconds') > 0, 'one is');

-- ---------- money under way, seats on sale ----------

SELECT count(pg_temp.grown(m)) AS n FROM unnest('{ticket_payments_pending,ticket_payments_stuck,ticket_refunds_due}'::text[]) AS m \gset
CREATE FUNCTION pg_temp.money() RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(format('%s %s', m, pg_temp.grown('ticket_' || m)), ', ') FROM unnest('{payments_pending,payments_stuck,refunds_due}'::text[]) AS m $$;
SELECT reservation_id AS r1 FROM ticket.seat_hold(:p, '{5}', 'metrics') \gset
SELECT reservation_id AS r2 FROM ticket.seat_hold(:p, '{6}', 'metrics') \gset
SELECT payment_id AS p1 FROM ticket.payment_begin(:r1, 'metrics', 'card') \gset
SELECT payment_id AS p2 FROM ticket.payment_begin(:r2, 'metrics', 'card') \gset
SELECT is(pg_temp.money(), 'payments_pending 2, payments_stuck 0, refunds_due 0', 'two payments under way');
SET ticket.clock_offset = '20min';
SELECT is(pg_temp.money(), 'payments_pending 0, payments_stuck 2, refunds_due 0', 'which are stuck after a while');
SELECT ok(pg_temp.metric('ticket_payment_pending_seconds') >= 1200, 'since when');
RESET ticket.clock_offset;
SELECT is(pg_temp.money(), 'payments_pending 0, payments_stuck -2, refunds_due 0', 'so far they are not');
SELECT count(ticket.payment_confirm(:p1, 'metrics-1')) AS n, count(ticket.payment_fail(:p2, 'no')) AS m \gset
SELECT is(pg_temp.money(), 'payments_pending -2, payments_stuck 0, refunds_due 0', 'answered');
SELECT count(ticket.reservation_cancel(:r1, 'metrics')) AS n \gset
SELECT is(pg_temp.money(), 'payments_pending 0, payments_stuck 0, refunds_due 1', 'to be given back');
SELECT ok(pg_temp.metric('ticket_refund_due_seconds') > 0, 'since when');
SELECT count(ticket.refund_confirm(refund_id, 'metrics-2')) AS n FROM ticket.refund WHERE payment_id = :p1 \gset
SELECT is(pg_temp.money(), 'payments_pending 0, payments_stuck 0, refunds_due -1', 'given back');

CREATE FUNCTION pg_temp.seats_told(performance bigint) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(format('%s %s', s, pg_temp.metric(format('ticket_seats{performance="%s",status="%s"}', performance, s))), ', ')
	FROM unnest('{free,held,sold,blocked}'::text[]) AS s $$;
SELECT ticket.queue_create('metrics seats') AS q2 \gset
SELECT pg_temp.sale(price => 0, queue_id => :q2) AS p3 \gset
UPDATE ticket.performance SET starts_at = now() + interval '1 day' WHERE performance_id = :p3;
SELECT token AS t3 FROM ticket.ticket_enqueue(:q2, 'metrics') \gset
SELECT is(pg_temp.seats_told(:p3), 'free 10, held 0, sold 0, blocked 0', 'a performance on sale');
SELECT reservation_id AS r3 FROM ticket.seat_hold(:p3, '{1,2,3}', 'metrics', :'t3') \gset
SELECT count(ticket.seat_block(:p3, '{10}')) AS n \gset
SELECT is(pg_temp.seats_told(:p3), 'free 6, held 3, sold 0, blocked 1', 'its seats held and blocked');
SELECT count(ticket.pay_reservation(:r3, 'metrics')) AS n \gset
SELECT is(pg_temp.seats_told(:p3), 'free 6, held 0, sold 3, blocked 1', 'and sold');
SELECT ok(ticket.metrics() !~ format('performance="%s"', :p), 'one without a waiting room is not told');
SELECT count(ticket.performance_change(:p3, sale_opens_at => now() + interval '1 hour')) AS n \gset
SELECT ok(ticket.metrics() !~ format('performance="%s"', :p3), 'nor one that is not on sale yet');
SELECT count(pg_temp.sale(price => 0, queue_id => :q2)) AS n FROM generate_series(1, 60) \gset
SELECT is((SELECT count(*) FROM regexp_matches(ticket.metrics(), 'ticket_seats\{performance="\d+",status="free"\}', 'g')), 50::bigint, 'at most fifty');

SELECT ok(ticket.metrics() !~ 'metrics-', 'no user is in it');
SELECT ok(ticket.metrics() ~ '\n# EOF$', 'it is whole, and psql ends its last line');

SELECT * FROM finish();
