"""Finds the known name that a mistyped one was meant to be."""

import re
from collections.abc import Iterable

_SHORT = 5


def meant(word: str, known: Iterable[str]) -> str | None:
    """The closest known name, if so close that `word` is more likely a typo than another name."""
    most = 1 if len(word) <= _SHORT else 2
    rated = [(_distance(_plain(word), _plain(name), most), name) for name in known]
    best = min(rated, default=(most + 1, ""))
    return best[1] if best[0] <= most and len(word) > best[0] + 1 else None


def _plain(name: str) -> str:
    """Without what differs between styles of writing: `system_prompt`, `SystemPrompt`."""
    return re.sub(r"[-_]", "", name).lower()


def _distance(one: str, other: str, most: int) -> int:
    """How many letters are to be added, dropped, replaced or swapped; `most` + 1 if more."""
    if abs(len(one) - len(other)) > most:
        return most + 1
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        before, last, row = row, before, [i]
        for j, wanted in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != wanted))
            swapped = i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted
            row.append(min(cost, last[j - 2] + 1) if swapped else cost)
    return row[-1]
