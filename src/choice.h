/*
 * choice.h
 *		Which places of a house to offer to one who leaves it to us.
 *
 * Knows nothing of SQL, locks or PostgreSQL.  The caller has filled in the
 * places, section by section, row by row, number by number, and gives the
 * memory.
 *
 * Places are neighbours when they are in the same row of the same section and
 * both seat_no and seat_id are consecutive.  A block is free neighbours in a
 * row.  Of all blocks of a size the best one leaves the fewest orphans, single
 * free places between taken ones, on either side of it; then it does not leave
 * odd numbers of them on both sides, as most people come in pairs, who would
 * leave two orphans in the end; among these it is the one nearest to the middle
 * of the front row, as the crow flies.
 */
#ifndef TICKET_CHOICE_H
#define TICKET_CHOICE_H

#include <stdbool.h>
#include <stdint.h>

#define CHOICE_ALL_SECTIONS (-1)

typedef struct Place
{
	int32_t seat_id;
	int32_t row_no;
	int32_t seat_no;
	int32_t section; /* number of its section, from 0 */
	bool free;
	bool next; /* its neighbour on the right is the next one */
} Place;

typedef struct Stretch
{
	int first; /* index of the first place; -1: there is none */
	int orphans;
	int odd; /* times that both what is before it and what is behind it are odd */
	int64_t distance; /* squared, in cm */
} Stretch;

typedef struct Row
{
	int first; /* index of its first place */
	int n_places;
	int32_t section;
	int32_t row_no;
	int32_t depth; /* rows in front of it */
	int32_t twice_middle; /* first seat_no and last one */
	int size; /* for which `best` is known; 0: for none */
	Stretch best;
} Row;

/* Arrays with room for n_places each; the rows are made by house_arrange(). */
typedef struct House
{
	int n_places;
	Place *place;
	int n_rows;
	Row *row;
} House;

/* To be called when places have been added at the end of place[]. */
extern void house_arrange(House *house);
extern void house_set_free(House *house, int place, bool free);
extern int house_count_free(const House *house, int section);

/*
 * Each writes the indexes of n places to pick, ascending, or returns false when
 * there are none such in the section (or in all of them): n side by side; n in
 * two rows one behind the other; n anywhere, in blocks as large as there are;
 * the first n.
 */
extern bool choose_together(House *house, int section, int n, int *pick);
extern bool choose_two_rows(House *house, int section, int n, int *pick);
extern bool choose_any(House *house, int section, int n, int *pick);
extern bool choose_in_order(const House *house, int section, int n, int *pick);

#endif /* TICKET_CHOICE_H */
