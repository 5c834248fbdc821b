"""The agent's answer while it comes, for a script that shows it."""

from typing import Any

from ash.client.sse import Event


def text_of(message: dict[str, Any]) -> str:
    """The text of the agent's complete message; empty if it has only tool calls, for example."""
    blocks = message.get("message", {}).get("content", [])
    return "".join(b["text"] for b in blocks if isinstance(b, dict) and b.get("type") == "text")


class AnswerText:
    """What the agent has said so far, from the events of one turn; subagents are left out.

    Each of its messages is one of `texts`; the last one may still be incomplete. What an answer
    that broke off has said is taken back when the server says that it comes again.
    """

    def __init__(self) -> None:
        self._complete: list[str] = []
        self._deltas: list[str] = []

    @property
    def texts(self) -> list[str]:
        return [*self._complete, *(["".join(self._deltas)] if self._deltas else [])]

    def __str__(self) -> str:
        return "\n".join(self.texts)

    def add(self, event: Event) -> bool:
        """Takes the next event; returns whether it has changed the text."""
        match event.event:
            case "text_delta":
                return self._add_delta(event.json())
            case "message":
                return self._complete_with(event.json())
            case "retry":
                data = event.json()
                return (
                    bool(data.get("discard") and not data.get("parentToolUseId")) and self._drop()
                )
            case "gap":
                # Deltas are lost; the message that follows is complete.
                return self._drop()
        return False

    def _add_delta(self, data: dict[str, Any]) -> bool:
        if data.get("parentToolUseId"):
            return False
        self._deltas.append(data["delta"])
        return True

    def _drop(self) -> bool:
        had_some, self._deltas = bool(self._deltas), []
        return had_some

    def _complete_with(self, message: dict[str, Any]) -> bool:
        # A message with an `error` is the engine's own, made of an error of the model endpoint.
        if message.get("type") != "assistant" or message.get("error"):
            return False
        if message.get("parent_tool_use_id"):
            return False
        text = text_of(message)
        if not text:
            return False
        before = self.texts
        self._complete.append(text)
        self._deltas = []
        return before != self.texts
