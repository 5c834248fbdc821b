"""Reads the events of a turn: what is stored of each batch, what is shown, how the turn ends."""

from collections.abc import Sequence

from msgspec import Struct, field

from ash import events
from ash.egress import ModelFault, ModelFaults
from ash.events import Ending, Frame, Reading
from ash.large_lines import LargeMessage
from ash.protocol import EngineMessage, Failed, McpStatus, PromptRefused, Recovered
from ash.sandbox.link import TurnEvent
from ash.sessions.admission import OVERTAKEN
from ash.sessions.model_retries import ModelRetries
from ash.store.history import NewEntry, NewEvent, NewMessage


class TurnBatch(Struct):
    """What follows from events that came together. `frames` are shown in their order.

    `entries` are what is stored of them. `heard` is False if the agent only waits for the model.
    """

    frames: list[Frame] = field(default_factory=list)
    entries: list[NewEntry] = field(default_factory=list)
    conversation: str | None = None
    heard: bool = False


class TurnReader:
    """Reads the batches of one turn.

    `ending` is what the latest `result` says. `fault` is the first thing that went wrong although
    the agent went on.
    """

    def __init__(self, faults: ModelFaults) -> None:
        self.ending: Ending | None = None
        self.fault: str | None = None
        self._retries = ModelRetries(faults)

    def read(self, batch: Sequence[TurnEvent], next_id: int) -> TurnBatch:
        """`next_id` is the id that the first frame of the batch will have."""
        found = TurnBatch()
        for event in batch:
            match event:
                case EngineMessage():
                    self._read_message(event, found, next_id)
                case LargeMessage():
                    self._add(event.data, event.reading, found, next_id)
                case ModelFault():
                    found.frames.append(self._retries.waiting(event))
                case McpStatus():
                    frame = events.mcp_status(event.servers)
                    found.frames.append(frame)
                    found.entries.append(NewEvent("mcp_status", bytes(frame.data).decode()))
                case Recovered():
                    found.frames.append(events.recovered(event))
                    found.entries.append(NewEvent("lifecycle", _mended(event)))
                case Failed():
                    self._note(event.error)
                case PromptRefused():
                    self._note(OVERTAKEN)
        found.frames += self._retries.rest()
        return found

    def _read_message(self, event: EngineMessage, found: TurnBatch, next_id: int) -> None:
        try:
            content = str(event.data, "utf-8")
        except UnicodeDecodeError:
            self._note("A message of the agent is lost: it is not UTF-8")
            return
        self._add(content, events.read(event.data), found, next_id)

    def _add(
        self, content: str | memoryview, reading: Reading, found: TurnBatch, next_id: int
    ) -> None:
        found.heard |= reading.retry is None
        found.frames += self._retries.before(reading)
        found.frames += reading.frames
        found.conversation = reading.conversation or found.conversation
        self.ending = self._retries.explained(reading.ending) or self.ending
        if reading.durable:
            frame = next_id + len(found.frames) - 1
            found.entries.append(NewMessage(content, frame, reading.events))

    def _note(self, fault: str) -> None:
        self.fault = self.fault or fault


def _mended(what: Recovered) -> str:
    return events.lifecycle("recovered", memory=what.memory, warnings=[what.text])
