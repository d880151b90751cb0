-- Every invariant of the sale, from one snapshot; fails unless all are ok.

CREATE TEMPORARY TABLE verified AS SELECT * FROM ticket.verify();
SELECT invariant, ok, violations, detail FROM verified;
DO $$
BEGIN
	IF (SELECT bool_and(ok) FROM verified) IS NOT true THEN
		RAISE EXCEPTION 'verify() found violations';
	END IF;
END
$$;
