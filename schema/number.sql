/*
 * number.sql
 *		Reservation numbers: what is printed, read out and typed in.
 */

/*
 * CREATE EXTENSION leaves the table empty: a row of its own would be in the
 * way of the one that a restore brings.  Keys never collide, so none is lost.
 */
CREATE TABLE ticket.number_key (
	key		bytea PRIMARY KEY CONSTRAINT number_key_length CHECK (length(key) = 16),
	made_at	timestamptz NOT NULL DEFAULT least(ticket.clock(), clock_timestamp()),
	after_reservation	bigint NOT NULL DEFAULT 0
);
COMMENT ON TABLE ticket.number_key IS
	'The secret that reservation numbers are made with: one row, made with the first performance. Another key would make other numbers of all reservations; of several the oldest counts';
COMMENT ON COLUMN ticket.number_key.key IS '16 random bytes';
COMMENT ON COLUMN ticket.number_key.made_at IS 'When it was made: before the first reservation';
COMMENT ON COLUMN ticket.number_key.after_reservation IS
	'The highest reservation_id there was then: 0, or earlier reservations had other numbers';
CREATE TRIGGER number_key_follow AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON ticket.number_key
	FOR EACH STATEMENT EXECUTE FUNCTION ticket.catalogue_follow();

CREATE FUNCTION ticket.number_key_make() RETURNS boolean
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'ticket_number_key_make';
COMMENT ON FUNCTION ticket.number_key_make() IS
	'Makes the key of reservation numbers unless there is one; true if it did. performance_create calls it';

CREATE FUNCTION ticket.reservation_number(reservation_id bigint) RETURNS text
	LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'ticket_reservation_number';
COMMENT ON FUNCTION ticket.reservation_number(bigint) IS
	'The number of a reservation as it is printed and read out: three groups of four letters, not to be guessed';

CREATE FUNCTION ticket.reservation_id(number text) RETURNS bigint
	LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'ticket_reservation_id';
COMMENT ON FUNCTION ticket.reservation_id(text) IS
	'The reservation_id of a number, for every function that takes one; small letters, blanks and hyphens do no harm';

/* Who could ask for the number of any reservation would not have to guess. */
SELECT ticket.permit('{buyer,seller,operator,auditor}', 'EXECUTE', '{reservation_id}');
SELECT ticket.permit('{operator,auditor}', 'EXECUTE', '{reservation_number}');
