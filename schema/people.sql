/*
 * people.sql
 *		Who is kept out, and taking leave.
 *
 * Who a user is, the API layer says, or the claim that ticket.user_claim names.
 */

CREATE TABLE ticket.user_block (
	user_id		text PRIMARY KEY CONSTRAINT user_block_user CHECK (length(user_id) BETWEEN 1 AND 255),
	reason		text NOT NULL CONSTRAINT user_block_reason CHECK (length(reason) BETWEEN 1 AND 1000),
	until		timestamptz CONSTRAINT user_block_until CHECK (isfinite(until)),
	blocked_at	timestamptz NOT NULL DEFAULT ticket.clock()
);
COMMENT ON TABLE ticket.user_block IS 'The blocklist: users who may not enter, hold or pay';
COMMENT ON COLUMN ticket.user_block.user_id IS 'Who is blocked';
COMMENT ON COLUMN ticket.user_block.reason IS 'Why, for operators; the user is not told';
COMMENT ON COLUMN ticket.user_block.until IS 'When the block ends by itself; NULL: for good';
COMMENT ON COLUMN ticket.user_block.blocked_at IS 'When it was entered, or last changed';

CREATE TRIGGER people_follow AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON ticket.user_block
	FOR EACH STATEMENT EXECUTE FUNCTION ticket.catalogue_follow();

CREATE FUNCTION ticket.user_block(user_id text, reason text, until timestamptz DEFAULT NULL)
	RETURNS boolean LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	at timestamptz := ticket.clock();
	fresh boolean;
BEGIN
	PERFORM ticket.require_primary();
	PERFORM ticket.check_argument(length(user_id) BETWEEN 1 AND 255, 'user_id must have 1 to 255 characters');
	PERFORM ticket.check_argument(length(reason) BETWEEN 1 AND 1000, 'reason must have 1 to 1000 characters');
	PERFORM ticket.check_argument(until IS NULL OR isfinite(until) AND until > at,
		'until must be in the future and not be infinite');
	INSERT INTO ticket.user_block AS b (user_id, reason, until, blocked_at) VALUES (user_id, reason, until, at)
	ON CONFLICT ON CONSTRAINT user_block_pkey DO UPDATE
		SET reason = excluded.reason, until = excluded.until, blocked_at = excluded.blocked_at
	RETURNING b.xmax = 0 INTO fresh;
	RETURN fresh;
END $$;
COMMENT ON FUNCTION ticket.user_block(text, text, timestamptz) IS
	'Keeps a user from entering, holding and paying until then, or for good; a block there is gets the new reason and end. True when the user was not on the list';

CREATE FUNCTION ticket.user_unblock(user_id text)
	RETURNS boolean LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM ticket.require_primary();
	PERFORM ticket.check_argument(length(user_id) BETWEEN 1 AND 255, 'user_id must have 1 to 255 characters');
	DELETE FROM ticket.user_block b WHERE b.user_id = user_unblock.user_id;
	RETURN FOUND;
END $$;
COMMENT ON FUNCTION ticket.user_unblock(text) IS
	'Takes a user off the blocklist; false if the user was not on it';

CREATE FUNCTION ticket.user_withdraw(
	user_id text,
	OUT tickets_left int,
	OUT holds_released int,
	OUT points bigint,
	OUT settlement text
) LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'ticket_user_withdraw';
COMMENT ON FUNCTION ticket.user_withdraw(text) IS
	'The user takes leave: tickets left, holds released, points paid out or forfeited, and a random pseudonym in place of the id wherever something has to stay. Calling it again changes nothing';

CREATE FUNCTION ticket.user_withdrawing() RETURNS boolean
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'ticket_user_withdrawing';
COMMENT ON FUNCTION ticket.user_withdrawing() IS
	'True while user_withdraw replaces an id: for the trigger that guards the ledger';

SELECT ticket.permit('{buyer,operator}', 'EXECUTE', '{user_withdraw}');
SELECT ticket.permit('{operator}', 'EXECUTE', '{user_block,user_unblock}');
SELECT ticket.permit('{operator,auditor}', 'SELECT', '{user_block}');
