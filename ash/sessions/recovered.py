"""What was mended in a session, until a turn has told its readers."""

from collections.abc import Iterable
from typing import Any, Literal

from ash.protocol import Recovered


class Recoveries:
    """What the bridge has mended since the session's last turn."""

    def __init__(self) -> None:
        self._told: list[Recovered] = []

    def add(self, told: Iterable[Recovered]) -> None:
        self._told += told

    def take(self) -> list[Recovered]:
        """Returns all of it and forgets it: the turn that begins tells its readers."""
        told, self._told = self._told, []
        return told

    def summary(self) -> dict[str, Any]:
        """Its fields for an answer or a timeline event; none if all was well.

        `memory` says what that has cost the conversation, `warnings` what was broken.
        """
        if not self._told:
            return {}
        warnings = [what.text for what in self._told]
        memory = _worst({what.memory for what in self._told})
        return (
            {"warnings": warnings} if memory is None else {"memory": memory, "warnings": warnings}
        )


def _worst(costs: set[Literal["lost", "partial"] | None]) -> Literal["lost", "partial"] | None:
    return "lost" if "lost" in costs else "partial" if "partial" in costs else None
