"""Which status changes of a session are allowed, and the errors for those that are not.

The store makes a change with one conditional UPDATE built from this table. So of two concurrent
callers only one can succeed.
"""

from typing import Literal

from msgspec import Struct

from ash.errors import AshError, BadRequest, Gone
from ash.model import SessionStatus

Action = Literal["activate", "fail", "pause", "stop", "resume", "wake", "end"]


class Change(Struct, frozen=True):
    """An action changes a session's status from any of `sources` to `target`."""

    sources: tuple[SessionStatus, ...]
    target: SessionStatus


CHANGES: dict[Action, Change] = {
    "activate": Change(("starting",), "active"),
    "fail": Change(("starting", "active"), "error"),
    "pause": Change(("active",), "paused"),
    "stop": Change(("starting", "active"), "stopped"),
    # Continues in the sandbox that the session still has.
    "resume": Change(("paused",), "active"),
    # Continues in a new sandbox, which has to boot.
    "wake": Change(("paused", "stopped", "error"), "starting"),
    "end": Change(("starting", "active", "paused", "stopped", "error"), "ended"),
}


def refusal(action: str, status: SessionStatus) -> AshError:
    """The error for an action that is not allowed in `status`."""
    if status == "ended":
        return Gone("The session has ended")
    return BadRequest(f'Cannot {action} session with status "{status}"')


_RESUME = "resume it (POST …/resume, `ash session resume`), or send a message with ?resume=auto"

# What to do about a session that is not active.
_CURES: dict[SessionStatus, str] = {
    "starting": "wait until it is active",
    "paused": _RESUME,
    "stopped": _RESUME,
    "error": f"its log says why (GET …/logs); {_RESUME}",
    "ended": "create another one",
}


def not_active(status: SessionStatus) -> BadRequest:
    """The error for a request that needs an active session."""
    cure = _CURES.get(status)
    return BadRequest(f"Session is {status}: {cure}" if cure else f"Session is {status}")
