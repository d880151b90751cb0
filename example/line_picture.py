#!/usr/bin/env python3
"""Tells positions of many tickets from a picture of their line.

A service that speaks for many fans fetches `SELECT ticket.line_picture(1)` once
a second, say, and answers all of them from it; who was not waiting when it was
taken is asked for with ticket_status.  Signs of life go on their own way, with
ticket_heard.  src/client/line_picture.h has the format, and the same for C.

As a program it reads a picture in hexadecimal (as psql shows a bytea) from the
first line of its input, a token from each further one, and prints the positions:

    psql -XAtq -c 'SELECT ticket.line_picture(1)' -c 'SELECT token FROM mine' | line_picture.py
"""
import bisect
import struct
import sys
import uuid

HEAD = struct.Struct('<4sHHHHIQqQQ')
PAGE = struct.Struct('<IHH')
PAGE_PLACES = 4096
BITS, LIST = 0, 1


class BadPicture(ValueError):
    """These bytes are no picture, or one of a kind that is not known here."""


class LinePicture:
    def __init__(self, data):
        if len(data) < HEAD.size:
            raise BadPicture('too short')
        (letters, version, head, order, lanes, n_pages,
         self.queue_id, self.taken_at, self.next_place, self.waiting) = HEAD.unpack_from(data)
        if letters != b'TKLP':
            raise BadPicture('no picture')
        if (version, order, lanes) != (1, 0, 1):
            raise BadPicture('of a later version')
        if head < HEAD.size:
            raise BadPicture('the head is too short')
        self.page_nos, self.before, self.bits = [], [], []
        before, at = 0, head
        for _ in range(n_pages):
            before, at = self._read_page(data, at, before)
        if at != len(data) or before != self.waiting:
            raise BadPicture('of another length than it says')

    def _read_page(self, data, at, before):
        if len(data) - at < PAGE.size:
            raise BadPicture('it ends within a page')
        page_no, count, form = PAGE.unpack_from(data, at)
        at += PAGE.size
        length = PAGE_PLACES // 8 if form == BITS else 2 * count
        if form not in (BITS, LIST) or len(data) - at < length:
            raise BadPicture('it ends within a page')
        if form == BITS:
            bits = int.from_bytes(data[at:at + length], 'little')
        else:
            places = struct.unpack_from(f'<{count}H', data, at)
            if any(place >= PAGE_PLACES for place in places):
                raise BadPicture('a place that is not in the page')
            bits = sum(1 << place for place in set(places))
        if bin(bits).count('1') != count or count == 0:
            raise BadPicture('a page with more or fewer places than it says')
        if self.page_nos and page_no <= self.page_nos[-1]:
            raise BadPicture('pages that do not ascend')
        self.page_nos.append(page_no)
        self.before.append(before)
        self.bits.append(bits)
        return before + count, at + length

    def position(self, token):
        """1 is next; 0: did not wait then, ask ticket_status; -1: came later."""
        queue_id, place = token_place(token)
        if queue_id != self.queue_id:
            raise ValueError('the token is of another queue')
        if place >= self.next_place:
            return -1
        page_no, within = divmod(place, PAGE_PLACES)
        i = bisect.bisect_left(self.page_nos, page_no)
        if i == len(self.page_nos) or self.page_nos[i] != page_no or not self.bits[i] >> within & 1:
            return 0
        return self.before[i] + bin(self.bits[i] & ((1 << within) - 1)).count('1') + 1


def token_place(token):
    """The queue and the place that a token is of."""
    number = uuid.UUID(token).int >> 64
    number = number >> 16 << 12 | number & 0xFFF
    return number >> 38, number & ((1 << 38) - 1)


def main():
    picture = LinePicture(bytes.fromhex(sys.stdin.readline().strip().removeprefix('\\x')))
    for line in sys.stdin:
        print(picture.position(line.strip()))


if __name__ == '__main__':
    main()
