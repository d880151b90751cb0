/*
 * seller.sql
 *		What sellers do with the catalogue: what operators do, with their own.
 *
 * Each function here is one of the catalogue's with seller_id before its
 * arguments: it finds out who calls, sees that what is named belongs to that
 * seller (TK005 when it does not: what is not yours is not there), and calls
 * the other.  They are made from the catalogue's own, so that arguments and
 * defaults are the same; owner, actor and the waiting room are not the seller's
 * to choose.
 */

CREATE FUNCTION ticket.check_owner(seller_id text, kind text, id bigint) RETURNS void
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	owner text;
BEGIN
	PERFORM ticket.check_argument(id IS NOT NULL, format('%s_id must not be NULL', kind));
	CASE kind
		WHEN 'concert' THEN
			SELECT c.owner INTO owner FROM ticket.concert c WHERE c.concert_id = id;
		WHEN 'performance' THEN
			SELECT c.owner INTO owner FROM ticket.performance p JOIN ticket.concert c ON c.concert_id = p.concert_id
			WHERE p.performance_id = id;
		WHEN 'section' THEN
			SELECT c.owner INTO owner FROM ticket.section s JOIN ticket.performance p ON p.performance_id = s.performance_id
				JOIN ticket.concert c ON c.concert_id = p.concert_id
			WHERE s.section_id = id;
		WHEN 'venue' THEN
			SELECT v.owner INTO owner FROM ticket.venue v WHERE v.venue_id = id;
		WHEN 'venue_section' THEN
			SELECT v.owner INTO owner FROM ticket.venue_section s JOIN ticket.venue v ON v.venue_id = s.venue_id
			WHERE s.venue_section_id = id;
		-- A house is for everybody, unless a seller has entered it.
		WHEN 'house' THEN
			SELECT coalesce(v.owner, seller_id) INTO owner FROM ticket.venue v WHERE v.venue_id = id;
	END CASE;
	PERFORM ticket.check_found(owner = seller_id, format('the seller has no %s %s', kind, id));
END $$;
COMMENT ON FUNCTION ticket.check_owner(text, text, bigint) IS
	'Raises TK005 unless the concert, performance, section, venue or section of a plan belongs to the seller';

DO $do$
DECLARE
	item record;
	arguments text;
	passed text;
	checks text;
BEGIN
	FOR item IN
		SELECT p.oid, p.proname, p.proargnames AS names, p.proargtypes::oid[] AS types, p.pronargs AS n,
			p.pronargs - p.pronargdefaults AS required, pg_get_function_result(p.oid) AS result, w.owned,
			'owner' = ANY (p.proargnames) AS owner, 'actor' = ANY (p.proargnames) AS actor,
			obj_description(p.oid, 'pg_proc') AS said
		FROM (VALUES
			('venue_create', '{}'::text[]), ('venue_change', '{venue}'), ('venue_withdraw', '{venue}'),
			('venue_section_create', '{venue}'), ('venue_section_change', '{venue_section}'),
			('venue_section_delete', '{venue_section}'), ('concert_create', '{}'), ('concert_change', '{concert}'),
			('concert_withdraw', '{concert}'), ('performance_create', '{concert,house}'),
			('performance_change', '{performance}'), ('performance_withdraw', '{performance}'),
			('section_create', '{performance}'), ('section_change', '{section}'), ('section_withdraw', '{section}')
		) AS w(name, owned) JOIN pg_catalog.pg_proc p ON p.proname = w.name AND p.pronamespace = 'ticket'::regnamespace
	LOOP
		SELECT string_agg(format('%I %s%s', item.names[i], format_type(item.types[i - 1], NULL),
				CASE WHEN i > item.required THEN ' DEFAULT ' || pg_get_function_arg_default(item.oid, i) ELSE '' END), ', ' ORDER BY i),
			string_agg(format('%1$I => $%2$s', item.names[i], k + 1), ', ' ORDER BY i)
		INTO arguments, passed
		FROM (SELECT i, row_number() OVER (ORDER BY i) AS k FROM generate_series(1, item.n) AS i
			WHERE item.names[i] <> ALL ('{owner,actor,queue_id}')) AS i;
		SELECT string_agg(format('	PERFORM ticket.check_owner(seller, %L, %I);', o,
			replace(o, 'house', 'venue') || '_id'), E'\n' ORDER BY n) INTO checks
		FROM unnest(item.owned) WITH ORDINALITY AS o(o, n);
		EXECUTE format($f$
CREATE FUNCTION ticket.seller_%1$s(seller_id text, %2$s) RETURNS %3$s
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	seller text := ticket.check_user(seller_id);
BEGIN
%4$s
	%5$s ticket.%1$s(%6$s);
END $$$f$, item.proname, arguments, item.result, checks, CASE item.result WHEN 'void' THEN 'PERFORM' ELSE 'RETURN' END,
			concat_ws(', ', passed, CASE WHEN item.owner THEN 'owner => seller' END, CASE WHEN item.actor THEN 'actor => seller' END));
		EXECUTE format('COMMENT ON FUNCTION ticket.seller_%s(%s) IS %L', item.proname,
			(SELECT pg_get_function_identity_arguments(f.oid) FROM pg_catalog.pg_proc f
				WHERE f.proname = 'seller_' || item.proname AND f.pronamespace = 'ticket'::regnamespace),
			'For a seller: ' || item.said);
		PERFORM ticket.permit('{seller}', 'EXECUTE', ARRAY['seller_' || item.proname]);
	END LOOP;
END $do$;
