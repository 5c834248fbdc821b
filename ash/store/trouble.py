"""What is wrong with the database, told once to who runs the server."""

import structlog

from ash.errors import AshError

log = structlog.stdlib.get_logger()

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
