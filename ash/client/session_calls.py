"""The life cycle of sessions."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from msgspec import UNSET, UnsetType

from ash.client.request import PATIENCE, Request, given, session_options
from ash.model import Session, SessionStatus

# Seconds that an engine may take to boot, with the agent's install.sh and startup.sh before it.
STARTING = 330.0


def create_session(
    agent: str,
    *,
    model: str | None = None,
    system_prompt: str | None = None,
    mcp_servers: Mapping[str, Any] | None = None,
    permission_mode: str | None = None,
    extra_env: Mapping[str, str] | None = None,
    allowed_tools: Sequence[str] | None = None,
    disallowed_tools: Sequence[str] | None = None,
    betas: Sequence[str] | None = None,
    subagents: Mapping[str, Any] | None = None,
    initial_agent: str | None = None,
    limits: Mapping[str, int] | None = None,
) -> Request[Session]:
    """Makes a session; it is ready for its first message."""
    body = given(agent=agent, **session_options(locals()))
    return _session("POST", body=body, patience=STARTING)


def get_session(session_id: str) -> Request[Session]:
    return _session("GET", session_id)


def list_sessions(
    *,
    agent: str | None = None,
    status: SessionStatus | None = None,
    limit: int | None = None,
    offset: int | None = None,
) -> Request[list[Session]]:
    """Newest first; 1000 if no limit is given."""
    params = given(agent=agent, status=status, limit=limit, offset=offset)
    return Request(
        method="GET", path=("sessions",), params=params, result=list[Session], under="sessions"
    )


def pause_session(session_id: str) -> Request[Session]:
    """Ends the running turn; the session keeps its sandbox while there is room."""
    return _session("POST", session_id, "pause")


def resume_session(session_id: str) -> Request[Session]:
    """Makes a paused, stopped or broken session active again."""
    return _session("POST", session_id, "resume", patience=STARTING)


def stop_session(session_id: str) -> Request[Session]:
    """Ends the running turn and the sandbox; the files are kept and the session can be resumed."""
    return _session("POST", session_id, "stop")


def fork_session(
    session_id: str,
    after_sequence: int | None = None,
    *,
    when_busy: Literal["queue", "interrupt"] | None = None,
) -> Request[Session]:
    """Makes a paused session with the history up to that message, else up to the last turn.

    A running turn is left out, unless `when_busy` waits for its end or interrupts it.
    """
    return _session(
        "POST",
        session_id,
        "fork",
        body=given(afterSequence=after_sequence),
        params=given(whenBusy=when_busy),
        # Nobody knows when the running turn ends.
        patience=None if when_busy == "queue" else PATIENCE,
    )


def end_session(session_id: str, *, keep_files: bool = True) -> Request[Session]:
    """Ends the session for good. Its files can be read on, unless they are not kept."""
    params: dict[str, str | int] = {} if keep_files else {"keepFiles": "false"}
    return _session("DELETE", session_id, params=params)


def interrupt_session(session_id: str) -> Request[bool]:
    """Ends the running turn and keeps the session. Answers whether a turn was running."""
    path = ("sessions", session_id, "interrupt")
    return Request(method="POST", path=path, result=bool, under="interrupted")


def configure_session(
    session_id: str,
    *,
    model: str | UnsetType | None = UNSET,
    allowed_tools: Sequence[str] | UnsetType | None = UNSET,
    disallowed_tools: Sequence[str] | UnsetType | None = UNSET,
    betas: Sequence[str] | UnsetType | None = UNSET,
    subagents: Mapping[str, Any] | UnsetType | None = UNSET,
    initial_agent: str | UnsetType | None = UNSET,
) -> Request[Session]:
    """Changes settings from the next message on.

    None takes a setting back to the agent's; a setting that is left out stays.
    """
    body = session_options(locals(), left_out=UNSET)
    return _session("PATCH", session_id, "config", body=body)


def _session(
    method: str,
    *path: str,
    body: dict[str, Any] | None = None,
    params: dict[str, str | int] | None = None,
    patience: float | None = PATIENCE,
) -> Request[Session]:
    return Request(
        method=method,
        path=("sessions", *path),
        params=params or {},
        body=body,
        result=Session,
        under="session",
        patience=patience,
    )
