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

/* What becomes of a whole hold or reservation its own row says. */
CREATE TABLE ticket.seat_return (
	reservation_id	bigint NOT NULL,
	seat_id			int NOT NULL,
	status			text NOT NULL CONSTRAINT seat_return_status CHECK (status IN ('released', 'cancelled')),
	price			bigint NOT NULL CONSTRAINT seat_return_price CHECK (price >= 0),
	refund			bigint NOT NULL DEFAULT 0 CONSTRAINT seat_return_refund CHECK (refund BETWEEN 0 AND price),
	payment_id		bigint,
	refund_id		bigint,
	returned_at		timestamptz NOT NULL,
	ledger_id		bigint,
	PRIMARY KEY (reservation_id, seat_id),
	CONSTRAINT seat_return_payment CHECK (CASE status WHEN 'cancelled' THEN payment_id IS NOT NULL AND ledger_id IS NOT NULL
		ELSE num_nonnulls(payment_id, refund_id, ledger_id) = 0 AND refund = 0 END)
);
CREATE INDEX seat_return_refund ON ticket.seat_return (refund_id) WHERE refund_id IS NOT NULL;
COMMENT ON TABLE ticket.seat_return IS
	'Seats given back: each that had been paid, and those given back out of a hold that kept others; one row a seat';
COMMENT ON COLUMN ticket.seat_return.reservation_id IS 'The reservation it was of';
COMMENT ON COLUMN ticket.seat_return.seat_id IS 'The seat, of the reservation''s performance';
COMMENT ON COLUMN ticket.seat_return.status IS 'released: before it was paid; cancelled: after';
COMMENT ON COLUMN ticket.seat_return.price IS 'The price that was agreed';
COMMENT ON COLUMN ticket.seat_return.refund IS 'How much of that goes back, or has; the rest was kept';
COMMENT ON COLUMN ticket.seat_return.payment_id IS 'The payment it had been paid with; NULL: released';
COMMENT ON COLUMN ticket.seat_return.refund_id IS 'The refund that a provider must give, or has given; NULL: points went back at once, or nothing goes back';
COMMENT ON COLUMN ticket.seat_return.returned_at IS 'When it was given back';
COMMENT ON COLUMN ticket.seat_return.ledger_id IS 'The movement of the ledger that it is part of; NULL: released';

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
	OUT balance bigint,
	OUT refund_due bigint
) LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'ticket_reservation_cancel';
COMMENT ON FUNCTION ticket.reservation_cancel(bigint, text, int[]) IS
	'Gives a paid reservation, or some of its seats, back: seats free, money returned as the cancel policy says, exactly once';

SELECT ticket.permit('{buyer,operator}', 'EXECUTE', '{reservation_cancel}');
SELECT ticket.permit('{operator}', 'EXECUTE', '{cancel_policy_set,cancel_policy_drop}');
SELECT ticket.permit('{operator,auditor}', 'SELECT', '{cancel_policy,seat_return}');
