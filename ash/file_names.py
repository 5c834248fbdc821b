r"""Spells file names that are not UTF-8 as text, so that JSON and URLs can carry them.

A name on Linux is bytes. A byte that is no part of UTF-8 is spelled as U+FFFD and its two
hexadecimal digits, so `caf\xe9.txt` becomes `caf�E9.txt`. No two names have the same spelling.
Python itself has such bytes as half a surrogate pair, U+DC80 to U+DCFF.
"""

import re

_MARK = "\N{REPLACEMENT CHARACTER}"
_NOT_UTF8 = re.compile("[\udc80-\udcff]")
_SPELLED = re.compile(f"{_MARK}([89A-F][0-9A-F])")
# A name that really has these characters; otherwise it would be read as one with an odd byte.
_LOOKS_SPELLED = re.compile(f"{_MARK}(?=[89A-F][0-9A-F])")
_SPELLED_MARK = "".join(f"{_MARK}{byte:02X}" for byte in _MARK.encode())


def spelled(name: str) -> str:
    """The spelling of a name or path that the system gave."""
    return as_text(_LOOKS_SPELLED.sub(_SPELLED_MARK, name))


def unspelled(text: str) -> str:
    """The name or path with that spelling, as the system takes it."""
    if _MARK not in text:
        return text
    name = _SPELLED.sub(lambda found: chr(0xDC00 + int(found[1], 16)), text)
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


def as_text(path: str) -> str:
    """A path that a caller wrote: a spelling stays as it is, and bytes that are not are spelled."""
    return _NOT_UTF8.sub(lambda found: f"{_MARK}{ord(found[0]) - 0xDC00:02X}", path)
