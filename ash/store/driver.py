"""The seam between the repository and a database.

The repository says what to read and write, in the SQL that all databases share; a driver knows
one database. Every driver passes the same conformance suite.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar
from uuid import uuid4

import msgspec
from msgspec import Struct

from ash.errors import AshError, Unavailable
from ash.log import get_logger
from ash.store.schema import SqlQuery

T = TypeVar("T")

Params: TypeAlias = Mapping[str, object]


class Row(Protocol):
    """Columns by name."""

    def __getitem__(self, column: str, /) -> Any: ...


class Statement(Struct, frozen=True):
    """One step of a unit. Fewer rows returned or changed than `expect` mean `OwnershipLost`."""

    query: SqlQuery
    params: Params
    expect: int = 0


Unit: TypeAlias = Sequence[Statement]
Result: TypeAlias = list[list[Row]]


class OwnershipLost(Exception):
    """Another was faster: what a unit relied on is no longer so. Nothing of it was written."""


class StoreClosed(Unavailable):
    """The store has been closed; nothing was written."""

    def __init__(self) -> None:
        super().__init__("The store is closed")


class Driver(Protocol):
    async def fetch_one(
        self, query: SqlQuery, params: Params, build: Callable[[Row], T]
    ) -> T | None:
        """The one row that a unique key finds, or None. Sees every write that has returned."""
        ...

    async def fetch(self, query: SqlQuery, params: Params, build: Callable[[Row], T]) -> list[T]:
        """All rows. `build` may run in another thread: it only makes an object of its row."""
        ...

    async def write(self, unit: Unit) -> Result:
        """Commits all of the unit or nothing; the rows that each statement returned.

        Returns when it is committed. A caller that is cancelled while it waits does not undo
        its write. Raises Lost, Closed, Unavailable (try again), or the database's own error.
        """
        ...

    async def run(self) -> None:
        """The one task that commits; ends by being cancelled.

        Before it ends it commits what was accepted until then, and closes the database. Writes
        are accepted before it starts, too.
        """
        ...


log = get_logger()

DAMAGED = (
    "The database is damaged: restore a copy of ash.db, or mend it, while no ashd runs"
    " (docs/running.md, A store that fails)"
)


class FailureLog:
    """Called from any thread. A write that is done ends what a write can end: no damage."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def met(self, error: AshError) -> None:
        if error.text not in self._told:
            self._told.add(error.text)
            log.error("store.failing", exc_info=error)

    def wrote(self) -> None:
        if over := set(self._told) - {DAMAGED}:
            self._told -= over
            log.warning("store.works_again")


class Repository:
    def __init__(self, driver: Driver) -> None:
        self._driver = driver


def new_id() -> str:
    return str(uuid4())


def to_json(value: object) -> str | None:
    """JSON text; None stays None, which is NULL."""
    return None if value is None else msgspec.json.encode(value).decode()


def from_json(text: str | None) -> Any:
    return None if text is None else msgspec.json.decode(text)
