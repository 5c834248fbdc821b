"""The two calls that stream."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ash.client.calls.fields import given
from ash.client.calls.sessions import STARTING, sessions
from ash.client.following import SILENCE, Streamed
from ash.client.request import Request

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
) -> Streamed:
    """The turn that the message starts, up to its `done`.

    The message is sent when the stream is entered or first iterated, once. Leaving the stream
    early leaves the turn running, unless `on_disconnect` is `interrupt`. Raises AshApiError if
    it is refused, MessageInDoubt if nobody can say whether it was.
    """
    body = given(
        content=content,
        includePartialMessages=include_partial_messages,
        model=model,
        maxTurns=max_turns,
        maxBudgetUsd=max_budget_usd,
        effort=effort,
        thinking=thinking,
        outputFormat=output_format,
    )
    # One that queues is answered when its turn begins, and nobody knows when that is. Another may
    # wait for its session to start, which the server may do without being asked.
    patience = None if when_busy == "queue" else SILENCE if resume == "no" else STARTING
    message: Request[None] = Request(
        method="POST",
        path=sessions(session_id, "messages"),
        params=given(whenBusy=when_busy, resume=resume, onDisconnect=on_disconnect),
        body=body,
        result=type(None),
        patience=patience,
    )
    return Streamed(path=sessions(session_id, "stream"), message=message)


def stream_session(session_id: str, *, after: int | None = None) -> Streamed:
    """The frames of all turns behind the id `after`, else from the running turn's start.

    Goes on, turn after turn, until the session has ended. Sends nothing to the agent.
    """
    return Streamed(path=sessions(session_id, "stream"), after=after)
