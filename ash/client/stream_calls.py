"""The two calls that stream."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ash.client.reconnecting import SILENCE, StreamRequest
from ash.client.request import Request, given, session_options
from ash.client.session_calls import STARTING

Content = str | Sequence[Mapping[str, Any]]


def send_message(
    session_id: str,
    content: Content,
    *,
    when_busy: Literal["refuse", "queue", "interrupt"] | None = None,
    resume: Literal["no", "auto"] | None = None,
    on_disconnect: Literal["continue", "interrupt"] | None = None,
    include_partial_messages: bool | None = None,
    model: str | None = None,
    max_turns: int | None = None,
    max_budget_usd: float | None = None,
    effort: Literal["low", "medium", "high", "max"] | None = None,
    thinking: Mapping[str, Any] | None = None,
    output_format: Mapping[str, Any] | None = None,
) -> StreamRequest:
    """The events of the turn that the message starts, up to its `done`.

    The message is sent once, when the stream is entered or first iterated. Leaving the stream
    early leaves the turn running, unless `on_disconnect` is `interrupt`. Raises AshError if the
    message is refused; over HTTP that is an AshApiError, and a MessageInDoubt if the connection
    broke before anyone could know whether it was accepted.
    """
    body = given(content=content, **session_options(locals()))
    # A queued message is answered when its turn begins, and nobody knows when that is. Any other
    # may have to wait for its session to start: the server may resume it without being asked.
    patience = None if when_busy == "queue" else SILENCE if resume == "no" else STARTING
    message: Request[None] = Request(
        method="POST",
        path=("sessions", session_id, "messages"),
        params=given(whenBusy=when_busy, resume=resume, onDisconnect=on_disconnect),
        body=body,
        result=type(None),
        patience=patience,
    )
    return StreamRequest(session_id=session_id, message=message)


def stream_session(session_id: str, *, after: int | None = None) -> StreamRequest:
    """The events of all turns after the id `after`, else from the start of the running turn.

    Goes on, turn after turn, until the session has ended. Sends nothing to the agent.
    """
    return StreamRequest(session_id=session_id, after=after)
