"""The interface between the repositories and a database.

The repositories use SQL that all databases understand; a driver knows one database. Every driver
passes the same tests.
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

log = get_logger()

DAMAGED = (
    "The database is damaged: restore a copy of ash.db, or mend it, while no ashd runs"
    " (docs/running.md, A store that fails)"
)

Params: TypeAlias = Mapping[str, object]


class Row(Protocol):
    """A row of a result, whose columns are read by name."""

    def __getitem__(self, column: str, /) -> Any: ...


class Statement(Struct, frozen=True):
    """One step of a unit. If it returns or changes fewer rows than `expect`, the unit fails."""

    query: SqlQuery
    params: Params
    expect: int = 0


Unit: TypeAlias = Sequence[Statement]
Result: TypeAlias = list[list[Row]]


class OwnershipLost(Exception):
    """A statement did not find the rows it expected, because another writer has changed them.

    Nothing of the unit was written.
    """


class StoreClosed(Unavailable):
    """The store has been closed; nothing was written."""

    def __init__(self) -> None:
        super().__init__("The store is closed")


class Driver(Protocol):
    async def fetch_one(
        self, query: SqlQuery, params: Params, build: Callable[[Row], T]
    ) -> T | None:
        """The one row for a unique key, or None. It sees every write that has returned."""
        ...

    async def fetch(
        self,
        query: SqlQuery,
        params: Params,
        build: Callable[[Row], T],
        until: Callable[[T], bool] | None = None,
    ) -> list[T]:
        """All rows, or those up to the first for which `until` is true.

        Both functions may run in another thread, so `build` must only make an object of a row.
        """
        ...

    async def write(self, unit: Unit) -> Result:
        """Commits the whole unit or nothing, and returns the rows of each statement.

        Cancelling a caller that waits does not undo its write. Raises OwnershipLost, StoreClosed,
        Unavailable (try again), or the database's own error.
        """
        ...

    async def run(self) -> None:
        """Commits until cancelled; one task of the caller's runs it.

        When cancelled, it commits the writes that it has accepted and closes the database. Writes
        are accepted before it starts, too.
        """
        ...


class FailureLog:
    """Logs each failure of the database once, until a write succeeds; any thread may call it.

    A write that succeeds does not end a report of damage.
    """

    def __init__(self) -> None:
        self._logged: set[str] = set()

    def met(self, error: AshError) -> None:
        if error.text not in self._logged:
            self._logged.add(error.text)
            log.error("store.failing", exc_info=error)

    def wrote(self) -> None:
        if over := set(self._logged) - {DAMAGED}:
            self._logged -= over
            log.warning("store.works_again")


class Repository:
    def __init__(self, driver: Driver) -> None:
        self._driver = driver


def new_id() -> str:
    return str(uuid4())


def to_json(value: object) -> str | None:
    """The value as JSON; None stays None, which becomes NULL."""
    return None if value is None else msgspec.json.encode(value).decode()


def from_json(text: str | None) -> Any:
    return None if text is None else msgspec.json.decode(text)
