/*
 * operator.sql
 *		What operators do to a sale that runs: block seats, move and cancel
 *		performances; and what nobody does to what has been sold.
 */

CREATE FUNCTION ticket.seat_block(performance_id bigint, seat_ids int[], end_holds boolean DEFAULT false)
	RETURNS int LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'ticket_seat_block';
COMMENT ON FUNCTION ticket.seat_block(bigint, int[], boolean) IS
	'Keeps all of the seats from sale, or none; returns how many were not so already. Held ones only with end_holds, sold ones never';

CREATE FUNCTION ticket.seat_unblock(performance_id bigint, seat_ids int[])
	RETURNS int LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'ticket_seat_unblock';
COMMENT ON FUNCTION ticket.seat_unblock(bigint, int[]) IS
	'Puts blocked seats on sale again; returns how many were blocked';

CREATE FUNCTION ticket.performance_move(
	performance_id bigint,
	starts_at timestamptz DEFAULT NULL,
	venue_id bigint DEFAULT NULL,
	sale_opens_at timestamptz DEFAULT NULL,
	sale_closes_at timestamptz DEFAULT NULL
) RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	before ticket.performance;
	after ticket.performance;
BEGIN
	PERFORM ticket.require_primary();
	PERFORM ticket.check_argument(starts_at IS NOT NULL OR venue_id IS NOT NULL, 'starts_at or venue_id must be given');
	IF venue_id IS NOT NULL THEN
		PERFORM ticket.venue_lock(venue_id);
	END IF;
	-- One that is off sale takes place all the same.
	before := ticket.performance_lock(performance_id, withdrawn_too => true);
	PERFORM ticket.check_argument(starts_at IS NULL OR isfinite(starts_at) AND starts_at > ticket.clock(),
		'starts_at must be in the future and not be infinite');
	UPDATE ticket.performance p SET
		starts_at = coalesce(starts_at, p.starts_at),
		venue_id = coalesce(venue_id, p.venue_id),
		sale_opens_at = CASE WHEN sale_opens_at IS NULL THEN p.sale_opens_at WHEN isfinite(sale_opens_at) THEN sale_opens_at END,
		-- An end of sale that is not given stays as long before the start as it was.
		sale_closes_at = CASE WHEN sale_closes_at IS NULL THEN p.sale_closes_at + ticket.elapsed(coalesce(starts_at, p.starts_at) - p.starts_at)
			WHEN isfinite(sale_closes_at) THEN sale_closes_at END
	WHERE p.performance_id = performance_id RETURNING * INTO after;
	-- Called again it is no news.
	IF (after.starts_at, after.venue_id, after.sale_opens_at, after.sale_closes_at) IS NOT DISTINCT FROM
		(before.starts_at, before.venue_id, before.sale_opens_at, before.sale_closes_at) THEN
		RETURN;
	END IF;
	INSERT INTO ticket.outbox (aggregatetype, aggregateid, type, payload)
	VALUES ('performance', performance_id, 'performance.moved', ticket.event_payload('performance.moved', jsonb_build_object('v', 1, 'performance_id', performance_id,
		'starts_at', ticket.utc(after.starts_at), 'venue_id', after.venue_id, 'sale_opens_at', ticket.utc(after.sale_opens_at),
		'sale_closes_at', ticket.utc(after.sale_closes_at), 'former_starts_at', ticket.utc(before.starts_at), 'former_venue_id', before.venue_id)));
END $$;
COMMENT ON FUNCTION ticket.performance_move(bigint, timestamptz, bigint, timestamptz, timestamptz) IS
	'Moves a performance to another time or venue, also one that has been withdrawn; reservations and seats stay. An end of sale that is not given moves with the date';

/*
 * How far performance_cancel is.  One row for each cancelled performance.
 */
CREATE TABLE ticket.performance_cancellation (
	performance_id	bigint PRIMARY KEY REFERENCES ticket.performance,
	requested_at	timestamptz NOT NULL,
	requested_by	text NOT NULL,
	reason			text CONSTRAINT cancellation_reason CHECK (length(reason) BETWEEN 1 AND 255),
	holds_ended		int NOT NULL DEFAULT 0,
	refunds			int NOT NULL DEFAULT 0,
	refunded		bigint NOT NULL DEFAULT 0,
	seats_blocked	int NOT NULL DEFAULT 0,
	finished_at		timestamptz
);
CREATE INDEX performance_cancellation_by ON ticket.performance_cancellation (requested_by);
COMMENT ON TABLE ticket.performance_cancellation IS
	'Performances that do not take place, and how far giving everything back is';
COMMENT ON COLUMN ticket.performance_cancellation.performance_id IS 'The performance';
COMMENT ON COLUMN ticket.performance_cancellation.requested_at IS 'When it was cancelled';
COMMENT ON COLUMN ticket.performance_cancellation.requested_by IS 'By whom';
COMMENT ON COLUMN ticket.performance_cancellation.reason IS 'Why, as buyers are told';
COMMENT ON COLUMN ticket.performance_cancellation.holds_ended IS 'Holds ended so far';
COMMENT ON COLUMN ticket.performance_cancellation.refunds IS 'Reservations given back so far';
COMMENT ON COLUMN ticket.performance_cancellation.refunded IS 'What they were paid with, in the currency''s minor unit: points are back, of providers refunds are due';
COMMENT ON COLUMN ticket.performance_cancellation.seats_blocked IS 'Seats blocked so far';
COMMENT ON COLUMN ticket.performance_cancellation.finished_at IS
	'When the last was done; NULL: CALL performance_cancel again';

CREATE PROCEDURE ticket.performance_cancel(performance_id bigint, reason text DEFAULT NULL, actor text DEFAULT NULL)
	LANGUAGE c AS 'MODULE_PATHNAME', 'ticket_performance_cancel';
COMMENT ON PROCEDURE ticket.performance_cancel(bigint, text, text) IS
	'The performance does not take place: ends every hold and gives everything paid back in full, some hundred seats a transaction. Called again it goes on where it was interrupted';

/* ---------- what has been sold ---------- */

CREATE FUNCTION ticket.sold_stays() RETURNS trigger
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF TG_TABLE_NAME = 'performance' AND NOT EXISTS (
		SELECT FROM ticket.reservation r WHERE r.performance_id = OLD.performance_id) THEN
		RETURN OLD;
	END IF;
	PERFORM ticket.raise_error('wrong_state', CASE TG_TABLE_NAME
		WHEN 'seat' THEN CASE TG_OP WHEN 'DELETE' THEN 'a seat that is held or sold cannot be deleted' ELSE 'seats are not renumbered' END
		WHEN 'reservation' THEN CASE TG_OP WHEN 'DELETE' THEN 'a live reservation cannot be deleted' ELSE 'the price agreed cannot be changed' END
		ELSE 'a performance with reservations cannot be deleted' END, hint => 'Withdraw or cancel it.');
	RETURN NULL;
END $$;
COMMENT ON FUNCTION ticket.sold_stays() IS
	'Trigger: refuses to delete what somebody holds or has bought, to change its price, to make its seats others';
CREATE TRIGGER sold_stays BEFORE DELETE ON ticket.seat
	FOR EACH ROW WHEN (OLD.reservation_id IS NOT NULL) EXECUTE FUNCTION ticket.sold_stays();
CREATE TRIGGER seat_stays BEFORE UPDATE OF performance_id, seat_id, section_id, row_no, seat_no ON ticket.seat
	FOR EACH STATEMENT EXECUTE FUNCTION ticket.sold_stays();
CREATE TRIGGER sold_stays BEFORE DELETE ON ticket.performance
	FOR EACH ROW EXECUTE FUNCTION ticket.sold_stays();
CREATE TRIGGER sold_stays BEFORE DELETE ON ticket.reservation
	FOR EACH ROW WHEN (OLD.ended_at IS NULL) EXECUTE FUNCTION ticket.sold_stays();
CREATE TRIGGER price_stays BEFORE UPDATE OF prices ON ticket.reservation
	FOR EACH ROW WHEN (OLD.seat_ids = NEW.seat_ids AND OLD.prices <> NEW.prices) EXECUTE FUNCTION ticket.sold_stays();

/* In place of a foreign key of seat: that would be checked once for every new seat. */
CREATE FUNCTION ticket.section_stays() RETURNS trigger
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF TG_OP = 'TRUNCATE' THEN
		-- As TRUNCATE ... CASCADE would; AFTER, as both may be named in one command
		IF EXISTS (SELECT FROM ticket.seat) THEN
			TRUNCATE ticket.seat;
		END IF;
	ELSIF EXISTS (SELECT FROM ticket.seat e WHERE e.performance_id = OLD.performance_id AND e.section_id = OLD.section_id) THEN
		PERFORM ticket.raise_error('wrong_state',
			CASE TG_OP WHEN 'DELETE' THEN 'a section with seats cannot be deleted' ELSE 'a section with seats cannot become another' END,
			format('It is section %s.', OLD.section_id), 'Withdraw it.');
	END IF;
	RETURN coalesce(NEW, OLD);
END $$;
COMMENT ON FUNCTION ticket.section_stays() IS
	'Trigger: refuses to take a section from its seats; emptying the table empties that of seats';
CREATE TRIGGER section_stays BEFORE DELETE ON ticket.section
	FOR EACH ROW EXECUTE FUNCTION ticket.section_stays();
CREATE TRIGGER section_moves BEFORE UPDATE OF section_id, performance_id ON ticket.section
	FOR EACH ROW WHEN ((OLD.section_id, OLD.performance_id) IS DISTINCT FROM (NEW.section_id, NEW.performance_id))
	EXECUTE FUNCTION ticket.section_stays();
CREATE TRIGGER section_truncate AFTER TRUNCATE ON ticket.section
	FOR EACH STATEMENT EXECUTE FUNCTION ticket.section_stays();

SELECT ticket.permit('{operator}', 'EXECUTE', '{seat_block,seat_unblock,performance_move,performance_cancel}');
SELECT ticket.permit('{operator,auditor}', 'SELECT', '{performance_cancellation}');
