"""No isolation at all."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import ash
from ash.sandbox.isolation.place import Inside, Place, Wrapped


class Bare:
    """The program runs as the daemon does. For development only."""

    name = "none"

    def __init__(self, missing: tuple[str, ...] = ()) -> None:
        self.missing = missing

    def inside(self, place: Place) -> Inside:
        library = Path(ash.__file__).parent.parent
        return Inside(str(place.workspace), str(place.home), str(library), str(place.sockets))

    def settle(self, place: Place) -> Place:
        return place

    def leave(self, place: Place) -> None:
        pass

    def wrap(self, argv: Sequence[str], place: Place, env: Mapping[str, str]) -> Wrapped:
        return Wrapped(list(argv), dict(env))
