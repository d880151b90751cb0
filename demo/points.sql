-- Where the points went; fails unless charged - paid + refunded are left.

CREATE TEMPORARY TABLE points AS
SELECT coalesce(sum(amount) FILTER (WHERE kind = 'charge'), 0) AS charged,
	coalesce(sum(amount) FILTER (WHERE kind = 'payment'), 0) AS paid,
	coalesce(sum(amount) FILTER (WHERE kind = 'refund'), 0) AS refunded,
	(SELECT coalesce(sum(balance), 0) FROM ticket.account) AS "left"
FROM ticket.ledger;
SELECT *, charged - paid + refunded = "left" AS ok FROM points;
DO $$
BEGIN
	IF (SELECT charged - paid + refunded = "left" FROM points) IS NOT true THEN
		RAISE EXCEPTION 'points appeared or vanished';
	END IF;
END
$$;
