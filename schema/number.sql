/*
 * number.sql
 *		Reservation numbers: what is printed, read out and typed in.
 */

CREATE TABLE ticket.number_key (
	one		boolean PRIMARY KEY DEFAULT true CONSTRAINT number_key_one CHECK (one),
	key		bytea NOT NULL CONSTRAINT number_key_length CHECK (length(key) = 16)
);
COMMENT ON TABLE ticket.number_key IS
	'The secret that reservation numbers are made with: one row. Another key would make other numbers of all reservations';
COMMENT ON COLUMN ticket.number_key.one IS 'Always true: there is one row';
COMMENT ON COLUMN ticket.number_key.key IS '16 random bytes';

/* A restore brings the key that the numbers were made with. */
CREATE FUNCTION ticket.number_key_replace() RETURNS trigger
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	DELETE FROM ticket.number_key;
	RETURN NEW;
END $$;
COMMENT ON FUNCTION ticket.number_key_replace() IS 'Trigger: a new key takes the place of the old one';
CREATE TRIGGER number_key_replace BEFORE INSERT ON ticket.number_key
	FOR EACH ROW EXECUTE FUNCTION ticket.number_key_replace();
CREATE TRIGGER number_key_follow AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON ticket.number_key
	FOR EACH STATEMENT EXECUTE FUNCTION ticket.catalogue_follow();
INSERT INTO ticket.number_key (key)
SELECT substr(sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())), 1, 16);

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
