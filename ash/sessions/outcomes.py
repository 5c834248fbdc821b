"""What becomes of a session when one of its turns has ended."""

from typing import TypeAlias

from ash.lifecycle import Action
from ash.sessions.turn import Turn

NOT_STORED = "What the agent did could not be stored"
KILLED = "the agent did not stop and was killed"

# What becomes of a session, and what its lifecycle event says besides.
Outcome: TypeAlias = tuple[Action, dict[str, str]]


def outcome_of(turn: Turn, *, pausing: bool, cut: dict[str, str]) -> Outcome | None:
    """None if the session stays active. `cut` is what else ends with its sandbox."""
    if turn.killed:
        return "pause", {"reason": KILLED, **cut}
    if pausing:
        return "pause", {}
    if turn.broken:
        return "fail", {"error": NOT_STORED, **cut}
    return None if turn.lost is None else ("fail", {"error": turn.lost, **cut})


def has_no_sandbox(turn: Turn) -> bool:
    """Whether the turn has cost the session its sandbox."""
    return turn.killed or turn.broken or turn.lost is not None
