"""No isolation at all."""

from collections.abc import Mapping, Sequence

from ash.sandbox.isolation import code
from ash.sandbox.isolation.place import Inside, Place, Wrapped


class Bare:
    """The program runs as the daemon does. For development only."""

    name = "none"

    def __init__(self, missing: tuple[str, ...] = ()) -> None:
        self.missing = missing

    def inside(self, place: Place) -> Inside:
        return Inside(
            str(place.workspace),
            str(place.home),
            str(code.ASH.parent),
            str(place.sockets),
            python_path=code.PYTHON_PATH,
        )

    def settle(self, place: Place) -> Place:
        return place

    def leave(self, place: Place) -> None:
        pass

    def wrap(self, argv: Sequence[str], place: Place, env: Mapping[str, str]) -> Wrapped:
        return Wrapped(list(argv), dict(env))
