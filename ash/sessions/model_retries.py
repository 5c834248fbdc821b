"""What a turn's readers are told while the model endpoint fails: `retry` frames, and the cause."""

from collections.abc import Sequence

from ash import events
from ash.egress import ModelFault, ModelFaults
from ash.events import Ending, Frame, Reading
from ash.model_retry import Retry


class ModelRetries:
    """The retries of one turn.

    The CLI says when it tries a call again, but not in words that help. The proxy knows the cause,
    in `faults`, and says when a call only waits, of which the CLI says nothing.
    """

    def __init__(self, faults: ModelFaults) -> None:
        self._faults = faults
        self._latest = Retry()
        self._discard = False
        self._parent: str | None = None

    def waiting(self, fault: ModelFault) -> Frame:
        """For a call that is still without an answer."""
        self._latest = Retry(self._latest.attempt, self._latest.of, fault.status)
        return self._frame(fault.error)

    def before(self, reading: Reading) -> Sequence[Frame]:
        """The frames to send before those of the message that was read."""
        if (retry := reading.retry) is not None:
            fault = self._faults.last
            # Of a call that got no answer the CLI sees the status that our proxy gave it.
            status = retry.status if fault is None else fault.status
            self._latest = Retry(retry.attempt, retry.of, status, retry.pause_ms)
            return [self._frame(self._cause(retry))]
        frames = self.rest()
        self._discard, self._parent = reading.abandoned, reading.parent
        return frames

    def rest(self) -> Sequence[Frame]:
        """The frame that takes back an answer that was cut, unless another `retry` has done so."""
        if not self._discard:
            return ()
        self._latest = Retry(self._latest.attempt, self._latest.of)
        return [self._frame(self._cause(self._latest))]

    def explained(self, ending: Ending | None) -> Ending | None:
        """The ending of a result. If the last model call failed, its error names the cause."""
        fault = self._faults.last
        if ending is None or ending.reason != "error" or fault is None:
            return ending
        return Ending("error", fault.error)

    def _frame(self, error: str) -> Frame:
        discard, self._discard = self._discard, False
        parent = self._parent if discard else None
        return events.retry(self._latest, error, discard=discard, parent=parent)

    def _cause(self, retry: Retry) -> str:
        if self._faults.last is not None:
            return self._faults.last.error
        if retry.status is None:
            return "The model endpoint broke off its answer"
        return f"The model endpoint failed ({retry.status})"
