-- What is sold and who comes for it.  Variables: fans, seats, capacity (how many
-- are let in at a time) and per_second (how many may follow each second).

\o /dev/null

-- The shop: its connections may do what a buyer may, and nothing else.
CREATE ROLE shop LOGIN;
SELECT ticket.grant_role('shop', 'buyer');

-- Everything takes seconds here that takes minutes in a real sale.
SELECT ticket.queue_create('Stadium tour', capacity => :capacity,
	promote_count => :per_second, promote_interval => '1 second',
	active_ttl => '30 seconds', idle_ttl => '40 seconds') AS queue_id \gset
SELECT ticket.concert_create('Stadium tour') AS concert_id \gset
SELECT ticket.venue_create('Stadium') AS venue_id \gset
SELECT ticket.performance_create(:concert_id, :venue_id, now() + '90 days',
	queue_id => :queue_id, hold_interval => '10 seconds', max_seats_per_user => 4)
	AS performance_id \gset

-- Rows of 25 in blocks of at most 20 rows, cheaper the farther from the stage.
-- What is left over makes one more row.
SELECT ticket.section_create(:performance_id, 'Block ' || block + 1,
	15000 - 9000 * block * block_rows / total_rows,
	least(block_rows, total_rows - block * block_rows), 25)
FROM (SELECT :seats / 25 AS total_rows,
		least(20, greatest(1, :seats / 125)) AS block_rows) AS size,
	generate_series(0, (total_rows + block_rows - 1) / block_rows - 1) AS block
ORDER BY block;
SELECT ticket.section_create(:performance_id, 'Last row', 5000, 1, :seats % 25)
WHERE :seats % 25 > 0;

-- Points enough for four of the best seats; one fan in a hundred has too few.
SELECT ticket.point_charge('fan-' || fan,
	CASE WHEN fan % 100 = 0 THEN 4000 ELSE 60000 END, 'before the sale')
FROM generate_series(1, :fans) AS fan;

VACUUM ANALYZE;
