"""Where a stream's frames come from: what is live, and the store for who falls behind it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from ash.core import Core
from ash.embedded.root import TENANT
from ash.errors import Unavailable
from ash.protocol import Query
from ash.requests.messages import Options
from ash.sessions.frame_ring import Lagged
from ash.sessions.turn import Turn
from ash.sessions.watch import TurnFrames, Watch


class Following:
    """A session's frames, however slowly they are read; those of other turns may follow."""

    def __init__(
        self, core: Core, session_id: str, held: AsyncExitStack, turn: Turn | None = None
    ) -> None:
        self._core = core
        self._session_id = session_id
        self._held = held
        self._turn = turn
        self._frames: TurnFrames | Watch

    async def begin(self, frames: TurnFrames | int | None) -> None:
        """With a turn's frames, or those behind an id."""
        await self._held.aclose()
        if isinstance(frames, TurnFrames):
            self._frames = frames
        else:
            watch = self._core.sessions.watch(TENANT, self._session_id, frames)
            self._frames = await self._held.enter_async_context(watch)

    async def read(self) -> bytes:
        """What comes next; nothing at the end. Raises Unavailable if that could not be stored."""
        while True:
            try:
                return await self._frames.read()
            except Lagged:
                if self._turn is not None and self._turn.broken:
                    text = "What the agent did could not be stored: the session's events say more"
                    raise Unavailable(text) from None
                await self.begin(self._frames.cursor - 1)


@asynccontextmanager
async def open_watch(core: Core, session_id: str, after: int | None) -> AsyncIterator[Following]:
    """Raises NotFound."""
    async with AsyncExitStack() as held:
        following = Following(core, session_id, held)
        await following.begin(after)
        yield following


@asynccontextmanager
async def open_turn(
    core: Core, session_id: str, query: Query, options: Options
) -> AsyncIterator[Following]:
    """Sends the message. Raises what `Sessions.send` raises."""
    turn, stream = await core.sessions.send(
        TENANT, session_id, query, options.when_busy, resume=options.resume
    )
    try:
        async with AsyncExitStack() as held:
            following = Following(core, session_id, held, turn)
            await following.begin(TurnFrames(turn, stream))
            yield following
    finally:
        if options.on_disconnect == "interrupt" and not turn.finished.is_set():
            core.nursery.start_soon(turn.stop, "interrupted")
