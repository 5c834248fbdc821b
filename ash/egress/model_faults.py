"""The faults of a sandbox's model calls: what users are told, and how long the CLI tries again.

The CLI tries a failed call again by itself, up to ten times, with pauses that double from half a
second to 32 s. The proxy decides when it has to stop: an answer with `x-should-retry: false` makes
it give up at once.
"""

from collections.abc import Awaitable, Callable

import trio
from msgspec import Struct

# The longest pause of the CLI before its n-th try, which it draws by chance: 0.625, 1.25, …, 40 s.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.625, 40.0


class ModelFault(Struct, frozen=True):
    """A model call that has failed, or one that is still without an answer.

    `error` is for the session's user. `status` is the endpoint's, None if it has not answered.
    """

    error: str
    status: int | None = None


class ModelFaults:
    """The faults of one sandbox's model calls in the running turn.

    `last` is the fault of the latest call that ended; None if that call was answered. `tell` gets
    the faults that the CLI does not know of, because its call still waits. `given_up` says that the
    time is up, and that the CLI does not know it yet, because its answer had begun.
    """

    def __init__(self, patience: float) -> None:
        """After `patience` seconds of faults no call is tried again; 0 leaves that to the CLI."""
        self.last: ModelFault | None = None
        self.tell: Callable[[ModelFault], Awaitable[None]] = _ignore
        self.given_up = False
        self._patience = patience
        self._since: float | None = None
        self._waited = 0.0
        self._count = 0

    def begin(self) -> None:
        """A turn begins: what was before it does not count."""
        self.answered()

    def answering(self) -> None:
        """An answer has begun. The time that it takes does not count, even if it breaks off."""
        if self._since is not None:
            self._waited += trio.current_time() - self._since
            self._since = None

    def answered(self) -> None:
        """An answer has come to its end: what was before it does not count."""
        self.last, self.given_up = None, False
        self._since, self._waited, self._count = None, 0.0, 0

    def failed(
        self, fault: ModelFault, *, begun: float | None = None, pause: float | None = None
    ) -> bool:
        """Notes the fault of a call. Returns whether it may be tried again.

        The call has got no answer since `begun`. `pause` is how long the endpoint asks to wait;
        without it the CLI chooses.
        """
        now = trio.current_time()
        self.last = fault
        self._count += 1
        if self._since is None:
            self._since = now if begun is None else begun
        if pause is None:
            pause = min(_FIRST_PAUSE * 2.0 ** (self._count - 1), _LONGEST_PAUSE)
        waited = self._waited + now - self._since
        return not self._patience or waited + pause <= self._patience


async def _ignore(_: ModelFault) -> None:
    await trio.lowlevel.checkpoint()
