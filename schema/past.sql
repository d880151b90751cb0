/*
 * past.sql
 *		What the catalogue said before: a reservation keeps what was agreed.
 *
 * Holding writes nothing for this.  A change of the catalogue keeps the former
 * row with the time until which it was so, and a reservation goes by what was
 * so when it was made: one row for a change, however many have bought.
 */

CREATE TABLE ticket.catalogue_past (
	kind	text NOT NULL CONSTRAINT catalogue_past_kind CHECK (kind IN ('venue', 'concert', 'performance', 'section')),
	id		bigint NOT NULL,
	until	timestamptz NOT NULL,
	was		jsonb NOT NULL,
	PRIMARY KEY (kind, id, until)
);
COMMENT ON TABLE ticket.catalogue_past IS 'Former rows of the catalogue, by which reservations made then go';
COMMENT ON COLUMN ticket.catalogue_past.kind IS 'venue, concert, performance or section';
COMMENT ON COLUMN ticket.catalogue_past.id IS 'Number of the venue, concert, performance or section';
COMMENT ON COLUMN ticket.catalogue_past.until IS 'When it was changed: the commit, not the statement';
COMMENT ON COLUMN ticket.catalogue_past.was IS 'What the buyer was told of it until then';

/*
 * Deferred, so that it reads the clock as late as can be: who buys while the
 * change has not committed buys what was.
 */
CREATE FUNCTION ticket.catalogue_remember() RETURNS trigger
	-- In UTC, or what was could not be read again where TimeZone is 'X+100'.
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
	was jsonb := to_jsonb(OLD);
BEGIN
	INSERT INTO ticket.catalogue_past (kind, id, until, was)
	SELECT TG_TABLE_NAME, (was ->> (TG_TABLE_NAME || '_id'))::bigint, ticket.clock(), jsonb_object_agg(w.key, w.value)
	FROM jsonb_each(was) w WHERE w.key = ANY (TG_ARGV)
	ON CONFLICT DO NOTHING;
	RETURN NULL;
END $$;
COMMENT ON FUNCTION ticket.catalogue_remember() IS
	'Trigger: keeps the columns named of a row that is being changed, for the reservations made until now';

CREATE CONSTRAINT TRIGGER catalogue_remember AFTER UPDATE ON ticket.venue
	DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (OLD.name <> NEW.name)
	EXECUTE FUNCTION ticket.catalogue_remember('name');
CREATE CONSTRAINT TRIGGER catalogue_remember AFTER UPDATE ON ticket.concert
	DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
	WHEN (OLD.name <> NEW.name OR OLD.artist IS DISTINCT FROM NEW.artist)
	EXECUTE FUNCTION ticket.catalogue_remember('name', 'artist');
CREATE CONSTRAINT TRIGGER catalogue_remember AFTER UPDATE ON ticket.performance
	DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
	WHEN ((OLD.concert_id, OLD.venue_id, OLD.starts_at, OLD.max_seats_per_user)
		IS DISTINCT FROM (NEW.concert_id, NEW.venue_id, NEW.starts_at, NEW.max_seats_per_user))
	EXECUTE FUNCTION ticket.catalogue_remember('concert_id', 'venue_id', 'starts_at', 'max_seats_per_user');
CREATE CONSTRAINT TRIGGER catalogue_remember AFTER UPDATE ON ticket.section
	DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
	WHEN (OLD.name <> NEW.name OR OLD.grade IS DISTINCT FROM NEW.grade)
	EXECUTE FUNCTION ticket.catalogue_remember('name', 'grade');

SELECT ticket.permit('{operator,auditor}', 'SELECT', '{catalogue_past}');
