/*
 * outbox.sql
 *		Events for the world outside.
 */

CREATE FUNCTION ticket.event_id() RETURNS uuid
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'ticket_event_id';
COMMENT ON FUNCTION ticket.event_id() IS
	'A UUID (version 7) greater than every one given out before on this server: outbox rows sort in the order they were written';

CREATE FUNCTION ticket.event_time(id uuid) RETURNS timestamptz
	LANGUAGE c IMMUTABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'ticket_event_time';
COMMENT ON FUNCTION ticket.event_time(uuid) IS
	'When an event was written, by its id and the server''s clock; NULL for a UUID of another version than 7';

CREATE FUNCTION ticket.utc(at timestamptz) RETURNS text
	LANGUAGE c IMMUTABLE AS 'MODULE_PATHNAME', 'ticket_utc';
COMMENT ON FUNCTION ticket.utc(timestamptz) IS
	'A time as events have it: ISO 8601 in UTC, whatever TimeZone is; NULL for NULL';

CREATE FUNCTION ticket.event_payload(type text, payload jsonb) RETURNS jsonb
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'ticket_event_payload';
COMMENT ON FUNCTION ticket.event_payload(text, jsonb) IS
	'What every event written in SQL passes through: adds trace_id to the payload where there is one and counts the event';

/*
 * Every type of event: the one list of them.  doc/events.md, verify() and the
 * test that sees each one written follow it.  A payload has exactly the keys
 * of the example, and trace_id where the call belonged to a trace.  Whoever
 * changes what a key means, or takes one away, raises v.
 */
CREATE VIEW ticket.event_types AS
SELECT t.type, t.aggregatetype, (t.example ->> 'v')::int AS v, t.meaning, t.example
FROM (VALUES
	('queue.promoted', 'queue',
		'Tickets became active, in the order of the line: at places, of user_ids. Up to 1000 in one event; those who were let in at once on entering are not in it.',
		'{"v": 1, "queue_id": 2, "places": [100, 101], "user_ids": ["anna", "ben"],
		"admitted_at": "2026-11-21T12:00:00+00:00", "expires_at": "2026-11-21T12:10:00+00:00"}'::jsonb),
	('concert.withdrawn', 'concert', 'A concert with all its performances was taken off sale; withdrawn_by may be null.',
		'{"v": 1, "concert_id": 3, "withdrawn_by": "operator"}'),
	('performance.withdrawn', 'performance', 'A performance was taken off sale; withdrawn_by may be null.',
		'{"v": 1, "performance_id": 4, "withdrawn_by": "operator"}'),
	('performance.section_withdrawn', 'performance', 'A section of a performance was taken off sale; withdrawn_by may be null.',
		'{"v": 1, "performance_id": 4, "section_id": 11, "withdrawn_by": "operator"}'),
	('performance.moved', 'performance', 'A performance was moved from former_starts_at and former_venue_id; a bound of the sale that is null is none.',
		'{"v": 1, "performance_id": 4, "starts_at": "2026-12-31T20:00:00+00:00", "venue_id": 2, "sale_opens_at": "2026-11-01T10:00:00+00:00",
		"sale_closes_at": "2026-12-31T18:00:00+00:00", "former_starts_at": "2026-12-30T20:00:00+00:00", "former_venue_id": 1}'),
	('performance.cancelled', 'performance',
		'A performance does not take place: nothing of it is sold any more, and an event for each reservation follows; reason may be null.',
		'{"v": 1, "performance_id": 4, "cancelled_by": "operator", "reason": "The singer is ill"}'),
	('performance.seats_blocked', 'performance', 'An operator took seats off sale that were free, or held: then the end of each hold has an event of its own.',
		'{"v": 1, "performance_id": 4, "seat_ids": [30, 31]}'),
	('performance.seats_unblocked', 'performance', 'Seats that had been blocked are on sale again.',
		'{"v": 1, "performance_id": 4, "seat_ids": [30, 31]}'),
	('reservation.held', 'reservation', 'Seats are held for a user until expires_at.',
		'{"v": 1, "reservation_id": 17, "performance_id": 4, "user_id": "anna", "seat_ids": [1, 2], "amount": 18000,
		"expires_at": "2026-11-21T12:05:00+00:00"}'),
	('reservation.extended', 'reservation', 'A hold ends later: at expires_at.',
		'{"v": 1, "reservation_id": 17, "performance_id": 4, "user_id": "anna", "seat_ids": [1, 2], "amount": 18000,
		"expires_at": "2026-11-21T12:10:00+00:00"}'),
	('reservation.released', 'reservation',
		'Seats of a hold were given back before it was paid: released_seat_ids. seat_ids and amount are what is left (or, with status released, what was last).',
		'{"v": 1, "reservation_id": 17, "performance_id": 4, "user_id": "anna", "seat_ids": [2], "amount": 9000,
		"released_seat_ids": [1], "status": "held"}'),
	('reservation.expired', 'reservation', 'A hold was not paid in time and has been ended.',
		'{"v": 1, "reservation_id": 17, "performance_id": 4, "user_id": "anna", "seat_ids": [1, 2], "amount": 18000}'),
	('reservation.paid', 'reservation', 'The seats are sold to the user.',
		'{"v": 1, "reservation_id": 17, "performance_id": 4, "user_id": "anna", "seat_ids": [1, 2], "amount": 18000,
		"payment_id": 9, "paid_at": "2026-11-21T12:01:00+00:00"}'),
	('reservation.cancelled', 'reservation',
		'Seats of a paid reservation were given back: cancelled_seat_ids; refunded went back (points), refund_due a provider must give back, kept was kept by the cancellation policy. seat_ids and amount are what is left (or, with status cancelled, what was last).',
		'{"v": 1, "reservation_id": 17, "performance_id": 4, "user_id": "anna", "seat_ids": [2], "amount": 9000,
		"cancelled_seat_ids": [1], "refunded": 8000, "refund_due": 0, "kept": 1000, "status": "paid"}'),
	('payment.begun', 'payment', 'A user pays for a reservation at a provider, which has not answered yet; the hold ends at expires_at.',
		'{"v": 1, "payment_id": 9, "reservation_id": 17, "user_id": "anna", "provider": "card", "amount": 18000,
		"expires_at": "2026-11-21T12:11:00+00:00"}'),
	('payment.captured', 'payment',
		'The provider has the money, and the seats of reservation_id are sold for it. Where the confirmation came too late for former_reservation_id, these were held anew, and may be others; else that is null.',
		'{"v": 1, "payment_id": 9, "reservation_id": 18, "user_id": "anna", "provider": "card", "amount": 18000,
		"provider_ref": "ch_8Yk2", "former_reservation_id": 17}'),
	('payment.failed', 'payment', 'The provider does not pay, for the reason given. The hold goes on until it ends.',
		'{"v": 1, "payment_id": 9, "reservation_id": 17, "user_id": "anna", "provider": "card", "amount": 18000,
		"reason": "card declined"}'),
	('payment.refund_due', 'payment',
		'The provider, which calls the payment provider_ref, must give amount back: refund refund_id.',
		'{"v": 1, "payment_id": 9, "reservation_id": 17, "user_id": "anna", "provider": "card", "provider_ref": "ch_8Yk2",
		"refund_id": 5, "amount": 9000, "reason": "seats were given back"}'),
	('payment.refunded', 'payment', 'The provider has given a refund back, which it calls refund_ref.',
		'{"v": 1, "payment_id": 9, "reservation_id": 17, "user_id": "anna", "provider": "card", "provider_ref": "ch_8Yk2",
		"refund_id": 5, "amount": 9000, "refund_ref": "re_7Gh1"}'),
	('points.charged', 'points', 'Points were added to the account of the user, whose balance is now balance.',
		'{"v": 1, "user_id": "anna", "amount": 20000, "balance": 20000}'),
	('user.withdrawn', 'user',
		'A user took leave: erase what you have of user_id. With settlement payout, pay the points out; with forfeit they lapsed.',
		'{"v": 1, "user_id": "anna", "points": 2000, "settlement": "payout"}')
) AS t (type, aggregatetype, meaning, example);
COMMENT ON VIEW ticket.event_types IS 'Every type of event, with the keys of its payload';
COMMENT ON COLUMN ticket.event_types.type IS 'Name: what it is about, a dot, what happened';
COMMENT ON COLUMN ticket.event_types.aggregatetype IS 'What aggregateid is the number or name of; events of one aggregate are in order';
COMMENT ON COLUMN ticket.event_types.v IS 'Version of the payload''s format';
COMMENT ON COLUMN ticket.event_types.meaning IS 'What has happened when it is written';
COMMENT ON COLUMN ticket.event_types.example IS 'A payload with every key it has';

CREATE TABLE ticket.outbox (
	id				uuid PRIMARY KEY DEFAULT ticket.event_id(),
	aggregatetype	text NOT NULL,
	aggregateid		text NOT NULL,
	type			text NOT NULL,
	payload			jsonb NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
-- Only promotions are long; to compress them takes longer than to write them, and they soon go.
ALTER TABLE ticket.outbox ALTER payload SET STORAGE EXTERNAL;
COMMENT ON TABLE ticket.outbox IS
	'Events for the world outside, in the columns of Debezium''s outbox event router; written with the change they tell of, taken out by outbox_ack or outbox_fetch';
COMMENT ON COLUMN ticket.outbox.id IS 'Time-ordered UUID: order of id is the order of events';
COMMENT ON COLUMN ticket.outbox.aggregatetype IS 'What changed: queue, reservation, payment, points';
COMMENT ON COLUMN ticket.outbox.aggregateid IS 'Which one';
COMMENT ON COLUMN ticket.outbox.type IS 'What happened to it, for example reservation.held';
COMMENT ON COLUMN ticket.outbox.payload IS 'The figures; v is the version of the format';

CREATE FUNCTION ticket.outbox_read(max_count int DEFAULT 100) RETURNS SETOF ticket.outbox
	LANGUAGE c VOLATILE ROWS 100 AS 'MODULE_PATHNAME', 'ticket_outbox_read';
COMMENT ON FUNCTION ticket.outbox_read(int) IS
	'The oldest events, in order; they stay until outbox_ack names them. Until the transaction ends no other consumer gets them, nor later ones of their aggregates';

CREATE FUNCTION ticket.outbox_ack(ids uuid[]) RETURNS int
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'ticket_outbox_ack';
COMMENT ON FUNCTION ticket.outbox_ack(uuid[]) IS
	'Takes events out that have been handed on; returns how many. Those that are gone, or that another consumer has just now, do not count';

/*
 * Said to be STABLE, which it is not, so that the planner puts its query in its
 * place: a function in FROM is read to the end before the first row goes out,
 * the query is not, and what nobody has read stays in the outbox.
 */
CREATE FUNCTION ticket.outbox_hand_out(max_count int) RETURNS SETOF ticket.outbox
	LANGUAGE c VOLATILE ROWS 100 AS 'MODULE_PATHNAME', 'ticket_outbox_hand_out';
COMMENT ON FUNCTION ticket.outbox_hand_out(int) IS
	'What outbox_fetch is made of: events, one by one as they are read; those are taken out';

CREATE FUNCTION ticket.outbox_fetch(max_count int DEFAULT 100)
	RETURNS TABLE (id uuid, aggregatetype text, aggregateid text, type text, payload jsonb)
	LANGUAGE sql STABLE ROWS 100
BEGIN ATOMIC
	SELECT (o.event).id, (o.event).aggregatetype, (o.event).aggregateid, (o.event).type, (o.event).payload
	FROM (SELECT ticket.outbox_hand_out($1) AS event) AS o;
END;
COMMENT ON FUNCTION ticket.outbox_fetch(int) IS
	'Takes the oldest events out as the query reads them, in order; they are gone when the caller commits and back when it does not. Any number of consumers keep the order of each aggregate';

CREATE VIEW ticket.outbox_stats AS
SELECT count(*) AS events, min(ticket.event_time(o.id)) AS oldest_at,
	greatest(clock_timestamp() - min(ticket.event_time(o.id)), '0') AS oldest_age,
	count(*) FILTER (WHERE o.payload ? 'reservation_id') AS reservation_events
FROM ticket.outbox o;
COMMENT ON VIEW ticket.outbox_stats IS 'What waits in the outbox; counts it whole, metrics() has an estimate for less';
COMMENT ON COLUMN ticket.outbox_stats.events IS 'Events that nobody has taken out';
COMMENT ON COLUMN ticket.outbox_stats.oldest_at IS 'When the oldest of them was written';
COMMENT ON COLUMN ticket.outbox_stats.oldest_age IS 'How long ago that is; after ticket.outbox_retention it is taken out';
COMMENT ON COLUMN ticket.outbox_stats.reservation_events IS 'Those of them about reservations';

SELECT ticket.permit('{operator}', 'EXECUTE', '{outbox_read,outbox_ack,outbox_fetch,outbox_hand_out}');
SELECT ticket.permit('{operator,auditor}', 'SELECT', '{outbox,event_types,outbox_stats}');
SELECT ticket.permit('{operator,auditor}', 'EXECUTE', '{event_time}');
GRANT SELECT ON ticket.outbox_stats TO pg_monitor;
GRANT EXECUTE ON FUNCTION ticket.event_time(uuid) TO pg_monitor;
