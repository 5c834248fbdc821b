"""Whether the agent takes a message, or has begun a turn by itself in the same instant."""

import trio

from ash.egress import ModelFault
from ash.errors import Conflict
from ash.protocol import McpStatus, PromptRefused
from ash.sandbox.link import Batches, TurnEvent

# How long the engine may take to say whether it takes a prompt that yields. It may have to start.
TAKEN_SECONDS = 30.0
# How many events are kept until then. They say once a second at most how the MCP servers are.
MOST_EARLY = 40

OVERTAKEN = "The agent has just begun a turn by itself: wait for its done, or interrupt it"


class Overtaken(Conflict):
    """The agent has begun a turn by itself, in the instant in which the message came."""


class Admission:
    """Waits for the first answer to a query that yields; nothing of it is stored before.

    `early` are the events that have come by then. `refusal` says why the message is refused.
    """

    def __init__(self, *, yields: bool) -> None:
        self.early: list[TurnEvent] = []
        self.refusal: Overtaken | None = None
        self._is_open = yields
        self._waiting = trio.CancelScope()

    async def wait(self, batches: Batches) -> bool:
        """Returns whether the turn may begin.

        It may, too, if the engine says nothing or is gone: the turn is stored and gets its end.
        """
        if not self._is_open:
            return self.refusal is None
        with trio.move_on_after(TAKEN_SECONDS), self._waiting:
            async for batch in batches:
                self.early += batch
                if any(isinstance(event, PromptRefused) for event in batch):
                    self._refuse()
                waits = all(isinstance(event, ModelFault | McpStatus) for event in batch)
                if not waits or len(self.early) >= MOST_EARLY:
                    break
        self._is_open = False
        return self.refusal is None

    def give_way(self) -> bool:
        """Refuses the message for a turn of the agent's own, unless it has been let in."""
        if self._is_open:
            self._refuse()
            self._waiting.cancel()
        return self.refusal is not None

    def _refuse(self) -> None:
        self.refusal = Overtaken(OVERTAKEN)
