"""Takes the long strings out of JSON, so that what is left is decoded in no time.

A decoder holds Python's lock from the first byte to the last: 50 ms for 130 MB, in which every
stream of the daemon stands still. This looks for quotes step by step.
"""

from collections.abc import Iterator
from itertools import islice

# Shorter strings are left to the decoder.
LONG = 16 * 1024

# Bytes that are searched at once, in some 10 µs.
STEP = 256 * 1024

# 500 files have some 3,000 strings; a body of nothing but quotes must not keep a thread busy.
MAX_STRINGS = 10_000


def lift(body: bytearray, mark: bytes) -> tuple[bytearray, list[memoryview]]:
    r"""The JSON with `mark` and a number for each long string, and these strings as views.

    What stands between their quotes is untouched, escapes and all. JSON that is broken stays
    broken. A string before which a `\"` is found is not lifted.
    """
    view = memoryview(body)
    rest, lifted, done = bytearray(), list[memoryview](), 0
    for start, end in islice(_strings(body), MAX_STRINGS):
        if end - start >= LONG:
            rest += view[done:start]
            rest += b"%s%d" % (mark, len(lifted))
            lifted.append(view[start:end])
            done = end
    rest += view[done:]
    return rest, lifted


def _strings(body: bytearray) -> Iterator[tuple[int, int]]:
    """From where to where each string goes, without its quotes, up to a quote that is escaped."""
    end = -1
    while (start := _quote(body, end + 1) + 1) > 0:
        end = _quote(body, start)
        if end < 0 or body[end - 1 : end] == b"\\":
            return
        yield start, end


def _quote(body: bytearray, start: int) -> int:
    """Where the next quote is; -1 if there is none."""
    for place in range(start, len(body), STEP):
        if (found := body.find(b'"', place, place + STEP)) >= 0:
            return found
    return -1
