/*
 * number.c
 *		Reservation numbers: what is read out at the door.
 *
 * A number is the reservation_id put through a secret permutation, so none is
 * stored or looked up, no two are alike and none tells the next.  It has 11
 * letters and a check letter, in three groups of four, from an alphabet of 23
 * in which no two look alike: neither of 0/O, 1/I/L, 2/Z, 5/S, 8/B, U/V is in it.
 *
 * The permutation of the 23^11 values is a Feistel cipher on 50 bits with
 * cycle walking (J. Black, P. Rogaway: Ciphers with Arbitrary Finite Domains,
 * CT-RSA 2002): ten rounds, as in FF1 (NIST SP 800-38G), their function being
 * SipHash-2-4 (J.-P. Aumasson, D. J. Bernstein: SipHash: a fast short-input PRF,
 * 2012).  The check letter is the sum of the letters weighted by their place
 * modulo 23, a prime: it finds each single wrong letter and each exchange of two.
 *
 * Nothing here knows of PostgreSQL; see numbering.c.
 */
#include "number.h"

#include <stddef.h>
#include <string.h>

#define HALF_BITS 25
#define HALF_MASK ((UINT64_C(1) << HALF_BITS) - 1)
#define ROUNDS 10
#define BASE 23
#define N_LETTERS 11
#define GROUP 4

static const char alphabet[BASE + 1] = "34679ACDEFGHJKMNPQRTWXY";

/* ---------- the permutation ---------- */

static inline uint64_t
rotate(uint64_t x, int n)
{
	return (x << n) | (x >> (64 - n));
}

static inline void
sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotate(v[1], 13) ^ v[0];
	v[0] = rotate(v[0], 32);
	v[2] += v[3];
	v[3] = rotate(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotate(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotate(v[1], 17) ^ v[2];
	v[2] = rotate(v[2], 32);
}

/* SipHash-2-4 of one word of eight bytes. */
static uint64_t
sip_hash(const NumberKey *key, uint64_t word)
{
	uint64_t v[4] = {key->k[0] ^ UINT64_C(0x736f6d6570736575),
					 key->k[1] ^ UINT64_C(0x646f72616e646f6d),
					 key->k[0] ^ UINT64_C(0x6c7967656e657261),
					 key->k[1] ^ UINT64_C(0x7465646279746573)};
	const uint64_t length = UINT64_C(8) << 56;

	v[3] ^= word;
	sip_round(v);
	sip_round(v);
	v[0] ^= word;
	v[3] ^= length;
	sip_round(v);
	sip_round(v);
	v[0] ^= length;
	v[2] ^= 0xff;
	for (int i = 0; i < 4; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static uint64_t
feistel(const NumberKey *key, uint64_t x, bool forward)
{
	uint64_t left = x >> HALF_BITS;
	uint64_t right = x & HALF_MASK;

	for (int i = 0; i < ROUNDS; i++)
	{
		uint64_t round = forward ? i : ROUNDS - 1 - i;

		if (forward)
		{
			uint64_t next = left ^ (sip_hash(key, (round << 32) | right) & HALF_MASK);

			left = right;
			right = next;
		}
		else
		{
			uint64_t before = right ^ (sip_hash(key, (round << 32) | left) & HALF_MASK);

			right = left;
			left = before;
		}
	}
	return (left << HALF_BITS) | right;
}

/* Walks on until it is back among the values there are: 1.2 steps on average. */
uint64_t
number_permute(const NumberKey *key, uint64_t x, bool forward)
{
	do
		x = feistel(key, x, forward);
	while (x >= NUMBER_VALUES);
	return x;
}

/* ---------- letters ---------- */

/* text has room for NUMBER_SIZE bytes. */
void
number_write(uint64_t value, char *text)
{
	int letter[N_LETTERS + 1];
	int sum = 0;

	for (int i = N_LETTERS - 1; i >= 0; i--)
	{
		letter[i] = value % BASE;
		value /= BASE;
		sum += (i + 1) * letter[i];
	}
	letter[N_LETTERS] = sum % BASE;
	for (int i = 0; i <= N_LETTERS; i++)
	{
		if (i > 0 && i % GROUP == 0)
			*text++ = '-';
		*text++ = alphabet[letter[i]];
	}
	*text = '\0';
}

/* Small letters, blanks and hyphens do no harm.  NULL, or what is wrong. */
const char *
number_read(const char *text, int length, uint64_t *value)
{
	int sum = 0;
	int n = 0;

	*value = 0;
	for (int i = 0; i < length; i++)
	{
		char c = text[i] >= 'a' && text[i] <= 'z' ? text[i] - 'a' + 'A' : text[i];
		const char *at = c != '\0' ? strchr(alphabet, c) : NULL;

		if (c == ' ' || c == '-')
			continue;
		if (at == NULL)
			return "It has a letter that no number has.";
		if (n == N_LETTERS)
			sum += BASE - (int) (at - alphabet);
		else if (n < N_LETTERS)
		{
			*value = *value * BASE + (at - alphabet);
			sum += (n + 1) * (int) (at - alphabet);
		}
		n++;
	}
	if (n != N_LETTERS + 1)
		return "A number has twelve letters.";
	if (sum % BASE != 0)
		return "A letter is wrong, or two have changed places.";
	return NULL;
}
