/*
 * cancel.sql
 *		Giving back what was paid: until when, for how much.
 */

/*
 * A step holds until `before` of the start: of those that still hold the one
 * that ended its validity soonest counts.  With steps '30 days', '7 days' and '1
 * day', who cancels 10 days before gets what '7 days' says, and who comes in the
 * last day is too late.
 */
CREATE TABLE ticket.cancel_policy (
	performance_id	bigint NOT NULL REFERENCES ticket.performance,
	before			interval NOT NULL CONSTRAINT cancel_policy_before CHECK (before BETWEEN '0' AND '3660 days'),
	kept_permille	int NOT NULL CONSTRAINT cancel_policy_kept_permille CHECK (kept_permille BETWEEN 0 AND 1000),
	kept_fixed		bigint NOT NULL CONSTRAINT cancel_policy_kept_fixed CHECK (kept_fixed BETWEEN 0 AND 1000000000000),
	PRIMARY KEY (performance_id, before)
);
COMMENT ON TABLE ticket.cancel_policy IS
	'Until when paid seats of a performance may be given back and how much is kept; without a row: all of it, until it begins';
COMMENT ON COLUMN ticket.cancel_policy.performance_id IS 'The performance';
COMMENT ON COLUMN ticket.cancel_policy.before IS 'The step holds until so long before the performance begins';
COMMENT ON COLUMN ticket.cancel_policy.kept_permille IS 'How much of a seat''s price is kept back, in thousandths, rounded down';
COMMENT ON COLUMN ticket.cancel_policy.kept_fixed IS 'How much of each seat is kept back on top of that; never more than its price';

CREATE FUNCTION ticket.cancel_policy_set(
	performance_id bigint,
	before interval,
	kept_permille int DEFAULT 0,
	kept_fixed bigint DEFAULT 0
) RETURNS void
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
	PERFORM ticket.require_primary();
	PERFORM ticket.check_argument(performance_id IS NOT NULL, 'performance_id must not be NULL');
	PERFORM ticket.check_argument(before BETWEEN '0' AND '3660 days', 'before must be between 0 and 3660 days');
	PERFORM ticket.check_argument(kept_permille BETWEEN 0 AND 1000, 'kept_permille must be between 0 and 1000');
	PERFORM ticket.check_argument(kept_fixed BETWEEN 0 AND 1000000000000, 'kept_fixed must be between 0 and 1000000000000');
	PERFORM ticket.check_found(EXISTS (SELECT FROM ticket.performance p WHERE p.performance_id = performance_id),
		format('there is no performance %s', performance_id));
	INSERT INTO ticket.cancel_policy AS c (performance_id, before, kept_permille, kept_fixed)
	VALUES (performance_id, before, kept_permille, kept_fixed)
	ON CONFLICT ON CONSTRAINT cancel_policy_pkey
		DO UPDATE SET kept_permille = excluded.kept_permille, kept_fixed = excluded.kept_fixed;
END $$;
COMMENT ON FUNCTION ticket.cancel_policy_set(bigint, interval, int, bigint) IS
	'Adds a step to the cancel policy of a performance, or changes it';

CREATE FUNCTION ticket.cancel_policy_drop(performance_id bigint, before interval) RETURNS boolean
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
	PERFORM ticket.require_primary();
	PERFORM ticket.check_argument(performance_id IS NOT NULL, 'performance_id must not be NULL');
	PERFORM ticket.check_argument(before IS NOT NULL, 'before must not be NULL');
	DELETE FROM ticket.cancel_policy c WHERE c.performance_id = performance_id AND c.before = before;
	RETURN FOUND;
END $$;
COMMENT ON FUNCTION ticket.cancel_policy_drop(bigint, interval) IS
	'Takes a step out of the cancel policy of a performance; false if there was none';

CREATE FUNCTION ticket.reservation_cancel(
	reservation_id bigint,
	user_id text,
	seat_ids int[] DEFAULT NULL,
	OUT reservation_id bigint,
	OUT status text,
	OUT refunded bigint,
	OUT balance bigint
) LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'ticket_reservation_cancel';
COMMENT ON FUNCTION ticket.reservation_cancel(bigint, text, int[]) IS
	'Gives a paid reservation, or some of its seats, back: seats free, money returned as the cancel policy says, exactly once';

SELECT ticket.permit('{buyer,operator}', 'EXECUTE', '{reservation_cancel}');
SELECT ticket.permit('{operator}', 'EXECUTE', '{cancel_policy_set,cancel_policy_drop}');
SELECT ticket.permit('{operator,auditor}', 'SELECT', '{cancel_policy}');
