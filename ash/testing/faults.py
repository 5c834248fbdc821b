"""Answers that only a rule of the stub model can give: those of an endpoint that is broken."""

from msgspec import Struct

from ash.script import Say


class Cut(Struct, frozen=True):
    """The stream of `said` begins, and breaks off before its end."""

    said: Say


class Hang(Struct, frozen=True):
    """The request is read and never answered."""
