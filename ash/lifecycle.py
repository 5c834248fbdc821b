"""What may become of a session, and what is said when it may not.

The one table of states. A change is one conditional UPDATE built from it, so that of two
callers only one can win.
"""

from typing import Literal

from msgspec import Struct

from ash.errors import AshError, BadRequest, Gone
from ash.model import SessionStatus

Action = Literal["activate", "fail", "pause", "stop", "resume", "wake", "end"]


class Change(Struct, frozen=True):
    """`action` takes a session from any of `sources` to `target`."""

    sources: tuple[SessionStatus, ...]
    target: SessionStatus


CHANGES: dict[Action, Change] = {
    "activate": Change(("starting",), "active"),
    "fail": Change(("starting", "active"), "error"),
    "pause": Change(("active",), "paused"),
    "stop": Change(("starting", "active"), "stopped"),
    # With the sandbox that it still has …
    "resume": Change(("paused",), "active"),
    # … and with a new one, which has to boot.
    "wake": Change(("paused", "stopped", "error"), "starting"),
    "end": Change(("starting", "active", "paused", "stopped", "error"), "ended"),
}


def refusal(action: str, status: SessionStatus) -> AshError:
    """The error for an action that `status` does not allow."""
    if status == "ended":
        return Gone("The session has ended")
    return BadRequest(f'Cannot {action} session with status "{status}"')


def not_active(status: SessionStatus) -> BadRequest:
    """The error for work that only an active session does."""
    return BadRequest(f"Session is {status}")
