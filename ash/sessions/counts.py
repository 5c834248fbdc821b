from msgspec import Struct


class Counts(Struct):
    """How many sandboxes live, and in how many of them a turn runs; kept true as they change."""

    live: int = 0
    running: int = 0
