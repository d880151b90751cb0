/*
 * many.sql
 *		Many tickets at once, for services that speak for thousands of fans.
 */

CREATE FUNCTION ticket.ticket_positions(tokens uuid[]) RETURNS bigint[]
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'ticket_positions';
COMMENT ON FUNCTION ticket.ticket_positions(uuid[]) IS
	'The position of each ticket, in their order: 1 is next, 0 is active, NULL: ask ticket_status; also their sign of life';

CREATE FUNCTION ticket.ticket_status_many(tokens uuid[]) RETURNS SETOF ticket.ticket_state
	LANGUAGE c VOLATILE ROWS 1000 AS 'MODULE_PATHNAME', 'ticket_status_many';
COMMENT ON FUNCTION ticket.ticket_status_many(uuid[]) IS
	'Where each ticket stands, a row for each element in their order; status is ''invalid'' for what is no ticket. Also their sign of life';

CREATE FUNCTION ticket.ticket_heard(tokens uuid[]) RETURNS int
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'ticket_heard';
COMMENT ON FUNCTION ticket.ticket_heard(uuid[]) IS
	'Signs of life of many tickets; returns how many of them wait';

CREATE FUNCTION ticket.ticket_enqueue_many(queue_id bigint, user_ids text[],
	OUT ord int,
	OUT user_id text,
	OUT token uuid,
	OUT status text,
	OUT "position" bigint,
	OUT estimated_wait interval,
	OUT poll_after interval,
	OUT expires_at timestamptz,
	OUT sqlstate text
) RETURNS SETOF record
	LANGUAGE c VOLATILE ROWS 1000 AS 'MODULE_PATHNAME', 'ticket_enqueue_many';
COMMENT ON FUNCTION ticket.ticket_enqueue_many(bigint, text[]) IS
	'Many users enter a waiting room in one transaction: a row for each, in their order, as of ticket_enqueue; who is refused has an sqlstate instead';

CREATE FUNCTION ticket.line_picture(queue_id bigint) RETURNS bytea
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'ticket_line_picture';
COMMENT ON FUNCTION ticket.line_picture(bigint) IS
	'Which places of a queue wait, at one moment: a process that has it tells the exact position of any ticket by itself. Format: src/client/line_picture.h';

SELECT ticket.permit('{buyer,operator}', 'EXECUTE', '{ticket_positions,ticket_status_many,ticket_heard,ticket_enqueue_many,line_picture}');
