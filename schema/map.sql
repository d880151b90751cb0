/*
 * map.sql
 *		What buyers are shown of a performance: sections, seats, the map.
 */

/*
 * Seats whose rows a statement has written are marked in shared memory.  What
 * moves a seat elsewhere, which no function does, concerns all of them.
 */
CREATE FUNCTION ticket.seat_follow() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'ticket_seat_follow';
COMMENT ON FUNCTION ticket.seat_follow() IS 'Trigger: changed seats are read from the table until readers have taken them in';
CREATE TRIGGER seat_insert AFTER INSERT ON ticket.seat REFERENCING NEW TABLE AS rows
	FOR EACH STATEMENT EXECUTE FUNCTION ticket.seat_follow();
CREATE TRIGGER seat_update AFTER UPDATE ON ticket.seat REFERENCING NEW TABLE AS rows
	FOR EACH STATEMENT EXECUTE FUNCTION ticket.seat_follow();
CREATE TRIGGER seat_delete AFTER DELETE ON ticket.seat REFERENCING OLD TABLE AS rows
	FOR EACH STATEMENT EXECUTE FUNCTION ticket.seat_follow();
CREATE TRIGGER seat_truncate AFTER TRUNCATE ON ticket.seat
	FOR EACH STATEMENT EXECUTE FUNCTION ticket.seat_follow();
CREATE TRIGGER seat_move AFTER UPDATE OF performance_id, seat_id, section_id, row_no, seat_no ON ticket.seat
	FOR EACH STATEMENT EXECUTE FUNCTION ticket.seat_follow();
CREATE TRIGGER section_update AFTER UPDATE ON ticket.section REFERENCING NEW TABLE AS rows
	FOR EACH STATEMENT EXECUTE FUNCTION ticket.seat_follow();
CREATE TRIGGER section_gone AFTER DELETE OR TRUNCATE ON ticket.section
	FOR EACH STATEMENT EXECUTE FUNCTION ticket.seat_follow();
CREATE TRIGGER catalogue_follow AFTER INSERT OR DELETE OR TRUNCATE
	OR UPDATE OF performance_id, seat_id, section_id, row_no, seat_no, accessible ON ticket.seat
	FOR EACH STATEMENT EXECUTE FUNCTION ticket.catalogue_follow();

CREATE FUNCTION ticket.sections(
	performance_id bigint,
	since bigint DEFAULT NULL,
	OUT section_id bigint, OUT name text, OUT price bigint, OUT seats bigint, OUT available bigint,
	OUT version bigint, OUT grade text, OUT kind text
) RETURNS SETOF record LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'ticket_sections';
COMMENT ON FUNCTION ticket.sections(bigint, bigint) IS
	'The sections of a performance, but those withdrawn, with their price, how many seats are to be had, grade and kind (of standing ones seat_hold_best gives the places out); with since, a version from an earlier answer, only those that have changed after it';

CREATE FUNCTION ticket.seats(
	performance_id bigint,
	section_id bigint DEFAULT NULL,
	OUT seat_id int, OUT section_id bigint, OUT "row" int, OUT number int, OUT price bigint, OUT status text,
	OUT accessible boolean
) RETURNS SETOF record LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'ticket_seats';
COMMENT ON FUNCTION ticket.seats(bigint, bigint) IS
	'The seats of a performance, or of one of its sections, with price and state, and whether one can get there in a wheelchair; a hold that is over counts as free, and what is free of a section withdrawn as blocked';

CREATE FUNCTION ticket.seat_map(
	performance_id bigint,
	section_id bigint DEFAULT NULL,
	since bigint DEFAULT NULL,
	OUT section_id bigint, OUT first_seat_id int, OUT version bigint, OUT available bigint, OUT map text
) RETURNS SETOF record LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'ticket_seat_map';
COMMENT ON FUNCTION ticket.seat_map(bigint, bigint, bigint) IS
	'The seats of a performance, or of one of its sections, drawn: a line per row, a character per seat (. free, h held, X sold, - blocked, spaces where the plan has a gap), of which the n-th is seat first_seat_id + n - 1. With since, the greatest version of an earlier answer, only sections that have changed after it; version is NULL where it is not known, and such sections always come';

CREATE FUNCTION ticket.seat_map_memory(
	OUT section_id bigint, OUT version bigint, OUT in_flight int, OUT unread int, OUT free int, OUT states text
) RETURNS SETOF record LANGUAGE c VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'ticket_seat_map_memory';
COMMENT ON FUNCTION ticket.seat_map_memory() IS
	'What shared memory has of the seats of this database''s sections, as far as somebody has looked at them: marks of transactions in progress, seats to be read from the table, seats known to be free, states as seat_map draws them with ? for what is to be read';

SELECT ticket.permit('{buyer,seller,operator,auditor}', 'EXECUTE', '{sections,seats,seat_map}');
SELECT ticket.permit('{operator,auditor}', 'EXECUTE', '{seat_map_memory}');
