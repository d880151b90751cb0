/*
 * pace.c
 *		How fast a queue may move, and how fast it does: room, the bucket of
 *		tokens, silence; rates of promotion, of the line's outflow and of ends.
 *
 * All of it is arithmetic on a Queue whose lock the caller holds.
 */
#include "postgres.h"

#include <math.h>

#include "memory.h"

/* No estimate beyond this is told. */
#define MAX_WAIT_US (366.0 * USECS_PER_DAY)

/* ---------- what is allowed ---------- */

/*
 * Tokens in the bucket by now; a full one holds one interval's worth.  The time
 * may be a little before that of the last look, as clocks are read before locks.
 */
double
queue_tokens(const Queue *queue, TimestampTz now)
{
	const QueueConfig *config = &queue->config;
	double tokens = queue->bucket;

	if (queue->bucket_at != DT_NOBEGIN && now > queue->bucket_at)
		tokens +=
			(double) (now - queue->bucket_at) * config->promote_count / config->promote_interval;
	return Min(tokens, config->promote_count);
}

/*
 * Fills the token bucket up to now.  If it was last filled further ahead than
 * one interval the clock has been put back, and filling begins anew.
 */
void
queue_refill(Queue *queue, TimestampTz now)
{
	queue->bucket = queue_tokens(queue, now);
	if (queue->bucket_at > now + queue->config.promote_interval)
		queue->bucket_at = now;
	queue->bucket_at = Max(queue->bucket_at, now);
}

/*
 * How many more may become active, by capacity and by rate; credit is the
 * room that falls free in the caller's own transaction.
 */
int64
queue_room(const Queue *queue, int64 credit)
{
	int64 room = queue->config.capacity - queue->active + credit;

	/* A hair under one token is one: the bucket is a sum of fractions. */
	return Max(0, Min(room, (int64) (queue->bucket + 1e-6)));
}

bool
queue_is_open(const Queue *queue, TimestampTz now)
{
	return queue->config.mode != MODE_PAUSED && now >= queue->config.opens_at;
}

/*
 * Whether one who was last heard then has been silent for too long.  Who was
 * heard before idle_ttl was shortened had been told to ask by the longer one.
 */
bool
queue_is_silent(const Queue *queue, TimestampTz heard, TimestampTz now)
{
	if (heard > now - queue->config.idle_ttl)
		return false;
	return heard >= queue->idle_shortened || heard <= now - queue->idle_ttl_before;
}

/*
 * When somebody of the line can be let in: now, when the queue opens, when there
 * are as many tokens as can be used (but soon enough to look every 50 ms), or
 * DT_NOEND: when something else happens.
 */
TimestampTz
queue_promote_due(const Queue *queue, TimestampTz now)
{
	const QueueConfig *config = &queue->config;
	int64 waiting = queue_line(queue)->n_waiting;
	int64 room = Min(waiting, config->capacity - queue->active);
	double per_us = (double) config->promote_count / config->promote_interval;
	double lacking;

	if (waiting == 0 || config->mode == MODE_PAUSED)
		return DT_NOEND;
	if (config->mode == MODE_PASSTHROUGH)
		return now;
	if (now < config->opens_at)
		return config->opens_at;
	if (room <= 0)
		return DT_NOEND;
	/* A bucket that is full spills what drops into it. */
	lacking = Min(room, Max(1, Min(50000 * per_us, config->promote_count / 2.0))) -
			  queue_tokens(queue, now);
	return lacking <= 0 ? now : now + (int64) (lacking / per_us) + 1;
}

/* ---------- what is measured ---------- */

/* How much of a count of that time is left by now. */
static double
meter_faded(TimestampTz then, TimestampTz now, int64 window)
{
	return now > then ? exp((double) (then - now) / window) : 1.0;
}

static void
meter_add(Meter *meter, int64 n, TimestampTz now, int64 window)
{
	/* By a clock that has been put back since: begin anew. */
	if (meter->at > now + window)
		memset(meter, 0, sizeof(Meter));
	if (meter->since == 0)
		meter->since = meter->at = now;
	meter->count = meter->count * meter_faded(meter->at, now, window) + n;
	meter->at = Max(now, meter->at);
}

/*
 * Events a second, corrected for the time since measuring began; -1 while
 * there is less than a second to go by.
 */
static double
meter_rate(const Meter *meter, TimestampTz now, int64 window)
{
	if (meter->since == 0 || now - meter->since < USECS_PER_SEC)
		return -1;
	return meter->count * meter_faded(meter->at, now, window) * 1e6 /
		   (window * (1.0 - meter_faded(meter->since, now, window)));
}

/* Goes on with another window, at the rate measured by now. */
static void
meter_rescale(Meter *meter, TimestampTz now, int64 from, int64 to)
{
	double rate = meter_rate(meter, now, from);

	if (from == to || rate < 0)
		return;
	meter->count = rate / 1e6 * to * (1.0 - meter_faded(meter->since, now, to));
	meter->at = now;
}

/* The time spent inside, with what those inside have spent by now. */
static double
stay_us_by(const Queue *queue, TimestampTz now)
{
	return queue->stay_us + queue_line(queue)->n_active * (double) Max(0, now - queue->stays_at);
}

/*
 * Brings what is known of stays up to now.  One sum by the other is the length of
 * a stay, where one that is not over counts for as long as it has lasted.  Both
 * are halved when the room has been left twice over: what was long ago counts less.
 */
static void
stays_follow(Queue *queue, TimestampTz now)
{
	if (queue->stays_at != 0)
		queue->stay_us = stay_us_by(queue, now);
	queue->stays_at = now;
	if (queue->stays_over > 2.0 * queue->config.capacity + 100)
	{
		queue->stay_us /= 2;
		queue->stays_over /= 2;
	}
}

/* Measures the outflow anew. */
static void
outflow_begin(Queue *queue, TimestampTz now)
{
	memset(&queue->outflow, 0, sizeof(Meter));
	queue->outflow_began = now;
}

/* Whether nobody can be let in before somebody has left. */
static bool
room_is_full(const Queue *queue)
{
	return queue->config.mode != MODE_PASSTHROUGH &&
		   queue_line(queue)->n_active >= queue->config.capacity;
}

/*
 * To be told before and after something changes.  Stops the clock of the outflow
 * when the line cannot move, lets it go on when it can.  A stop that lasted longer than outflow_window (a rehearsal, the night
 * before the sale) is no part of what is told today: measuring begins anew.
 */
void
queue_follow_line(Queue *queue, TimestampTz now)
{
	bool moves =
		queue_line(queue)->n_waiting > 0 && queue_is_open(queue, now) && !room_is_full(queue);
	bool moved = queue->halted_at == DT_NOEND;
	int64 gap = now - queue->halted_at;

	stays_follow(queue, now);
	if (moves == moved)
		return;
	if (!moves)
	{
		queue->halted_at = now;
		return;
	}
	queue->halted_at = DT_NOEND;
	if (gap < 0 || gap >= queue->config.outflow_window)
	{
		outflow_begin(queue, now);
		return;
	}
	queue->outflow_began += gap;
	if (queue->outflow.since != 0)
	{
		queue->outflow.since += gap;
		queue->outflow.at += gap;
	}
}

/* from_line: how many of those promoted had waited; stays_over: of those ended, been in. */
void
queue_count(Queue *queue, int64 promoted, int64 from_line, int64 ended, int64 stays_over,
			TimestampTz now)
{
	int64 window = queue->config.outflow_window;

	if (promoted > 0)
		meter_add(&queue->promotions, promoted, now, window);
	if (from_line > 0 && queue->halted_at == DT_NOEND)
	{
		if (queue->outflow_began > now)
			outflow_begin(queue, now);
		/* That nobody was let in before counts as well. */
		if (queue->outflow.since == 0)
			queue->outflow.since = queue->outflow.at = queue->outflow_began;
		meter_add(&queue->outflow, from_line, now, window);
	}
	if (ended > 0)
		meter_add(&queue->ends, ended, now, window);
	queue->stays_over += stays_over;
	queue->promoted += promoted;
	queue->ended += ended;
}

/* The time by the clock of the outflow; 0: nothing it has measured counts any more. */
static TimestampTz
outflow_now(const Queue *queue, TimestampTz now)
{
	if (queue->halted_at == DT_NOEND)
		return now;
	return now - queue->halted_at < queue->config.outflow_window ? queue->halted_at : 0;
}

/* Whether the line has been seen moving. */
static bool
outflow_measured(const Queue *queue, TimestampTz now)
{
	return meter_rate(&queue->outflow, outflow_now(queue, now), queue->config.outflow_window) >= 0;
}

/*
 * How many of the line are let in a second while it can move: as measured, but
 * not more than configured, as the first may go in all at once; as configured
 * where it was not measured lately; 0 when it has not moved for all of the
 * window, though it could.
 */
double
queue_outflow(const Queue *queue, TimestampTz now)
{
	int64 window = queue->config.outflow_window;
	double configured = queue->config.promote_count * 1e6 / queue->config.promote_interval;
	TimestampTz then = outflow_now(queue, now);
	double rate = meter_rate(&queue->outflow, then, window);

	if (then == 0)
		return configured;
	if (queue->outflow.since == 0)
		return then - queue->outflow_began < window ? configured : 0;
	return rate < 0 ? configured : Min(rate, configured);
}

/* How long a stay lasts, as seen lately; before any has ended, all of active_ttl. */
static double
stay_length(const Queue *queue, TimestampTz now)
{
	if (queue->stays_over <= 0)
		return queue->config.active_ttl;
	return Min(queue->config.active_ttl, stay_us_by(queue, now) / queue->stays_over);
}

/*
 * How long the wait is for room, for the n-th who needs somebody to leave, with
 * `inside` inside and the others of the capacity going in now.
 *
 * Once stays have been seen to end, `capacity` of them in the time of one.
 * Before, nobody is taken to leave early: those inside go one after the other
 * as their time is up, from the first of them on, evenly about the mean; who has
 * come after them has all of active_ttl.
 */
static double
room_wait(const Queue *queue, int64 n, bool *measured, TimestampTz now)
{
	const QueueConfig *config = &queue->config;
	int64 inside = queue_line(queue)->n_active;
	double ttl = config->active_ttl;
	int64 turn = (n - 1) % config->capacity; /* who of the room */
	double turns = (n - 1) / config->capacity;
	double first;
	double mean;

	*measured = queue->stays_over > 0;
	if (*measured)
		return n * stay_length(queue, now) / config->capacity;
	if (turn >= inside)
		return (turns + 1) * ttl;
	mean = Max(0.0, ttl - stay_us_by(queue, now) / inside);
	first = Max(0, Min(queue->ends_at - now, config->active_ttl));
	return turns * ttl + Min(ttl, first + 2.0 * turn / Max(1, inside - 1) * Max(0.0, mean - first));
}

/*
 * How long one who waits at that position has to wait: for the rate or for room,
 * whichever is longer, from the opening on.  In microseconds; -1: not known.
 * `measured`: what the answer is made of has been seen, not only configured.
 */
int64
queue_wait(const Queue *queue, int64 position, bool *measured, TimestampTz now)
{
	const QueueConfig *config = &queue->config;
	int64 full = position - Max(0, config->capacity - queue_line(queue)->n_active);
	double rate = queue_outflow(queue, now);
	double us = rate > 0 ? position / rate * 1e6 : MAX_WAIT_US + 1;
	bool stays_measured;

	*measured = outflow_measured(queue, now);
	if (config->mode == MODE_PAUSED)
		return -1;
	if (config->mode != MODE_PASSTHROUGH && full > 0)
	{
		double room;

		if (config->capacity == 0)
			return -1;
		/* What is above the capacity has to leave first. */
		full += Max(0, queue_line(queue)->n_active - config->capacity);
		room = room_wait(queue, full, &stays_measured, now);
		if (room > us)
		{
			us = room;
			*measured = stays_measured;
		}
	}
	if (us > MAX_WAIT_US)
		return -1;
	return (int64) us + (config->opens_at > now ? config->opens_at - now : 0);
}

/*
 * Tickets that become active, a second, but not more than a whole room in a window
 * and those who follow those who leave: a room fills only once.
 */
double
queue_promoted_rate(const Queue *queue, TimestampTz now)
{
	const QueueConfig *config = &queue->config;
	double rate = Max(0.0, meter_rate(&queue->promotions, now, config->outflow_window));

	if (config->mode == MODE_PASSTHROUGH)
		return rate;
	return Min(rate, config->capacity * 1e6 / config->outflow_window +
						 config->capacity * 1e6 / Max(1000.0, stay_length(queue, now)));
}

/* Tickets that end, a second. */
double
queue_ended_rate(const Queue *queue, TimestampTz now)
{
	return Max(0.0, meter_rate(&queue->ends, now, queue->config.outflow_window));
}

/* Puts other settings in force. */
void
queue_configure(Queue *queue, const QueueConfig *config, TimestampTz now)
{
	QueueConfig *old = &queue->config;

	/* What has gone by counts at the rate of its time. */
	queue_refill(queue, now);
	meter_rescale(&queue->promotions, now, old->outflow_window, config->outflow_window);
	meter_rescale(&queue->ends, now, old->outflow_window, config->outflow_window);
	meter_rescale(&queue->outflow, Min(now, queue->halted_at), old->outflow_window,
				  config->outflow_window);
	if (config->idle_ttl < old->idle_ttl)
	{
		bool again = now < queue->idle_shortened + queue->idle_ttl_before;

		queue->idle_ttl_before = again ? Max(queue->idle_ttl_before, old->idle_ttl) : old->idle_ttl;
		queue->idle_shortened = now;
	}
	if (config->mode != MODE_PASSTHROUGH &&
		(old->mode == MODE_PASSTHROUGH || config->capacity < old->capacity))
		queue->limits_at = now;
	if (config->retention != old->retention)
		queue->prune_due = now;
	*old = *config;
	queue_follow_line(queue, now);
}
