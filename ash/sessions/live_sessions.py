"""The sessions that live in this daemon."""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import trio

from ash.lifecycle import Action
from ash.model import StoredSession
from ash.sandbox.sandbox import EngineLaunch, Sandbox
from ash.sessions.dependencies import SessionDependencies
from ash.sessions.frame_ring import FrameRings
from ash.sessions.live_session import LiveSession


class LiveSessions:
    """Each of them is a task of the nursery that it is given."""

    def __init__(self, dependencies: SessionDependencies, nursery: trio.Nursery) -> None:
        self.rings = FrameRings()
        self._dependencies = dependencies
        self._nursery = nursery
        self._live: dict[str, LiveSession] = {}

    def __iter__(self) -> Iterator[LiveSession]:
        return iter(list(self._live.values()))

    def get(self, session_id: str) -> LiveSession | None:
        return self._live.get(session_id)

    def bring_up(
        self,
        stored: StoredSession,
        sandbox: Sandbox,
        settings: EngineLaunch,
        event: str | None = None,
    ) -> LiveSession:
        """Begins its life in a claimed box; `event` as in `LiveSession.run`."""
        held = ExitStack()
        ring = held.enter_context(self.rings.to_publish(sandbox.id, stored.next_frame))
        live = self._live[sandbox.id] = LiveSession(self._dependencies, stored, sandbox, ring)
        self._nursery.start_soon(self._run, live, held, settings, event)
        return live

    async def close(self, live: LiveSession, action: Action) -> bool:
        """Ends its life here; whether `action` is what becomes of it. Returns when it is gone.

        It goes on to its end if the caller is cancelled. Raises Unavailable.
        """
        won = live.decide(action)
        self._nursery.start_soon(live.wind_up, "stopped")
        await live.ended()
        return won

    async def sweep(self, timeout: float) -> None:
        """Gives up what has been idle for `timeout` seconds; runs until cancelled."""
        while timeout:
            await trio.sleep(timeout / 10)
            for live in self:
                since = live.idle_since()
                if since is not None and trio.current_time() - since >= timeout:
                    self._nursery.start_soon(live.evict, "idle")

    async def shut_down(self, grace: float) -> None:
        """Ends turns as `shutdown` and pauses what is active.

        Agents that do not follow are killed after two thirds of `grace` seconds, so that their
        clients hear of it in the last one.
        """
        async with trio.open_nursery() as nursery:
            for live in self:
                # One that is still starting can't be paused.
                action: Action = "stop" if live.stored.session.status == "starting" else "pause"
                nursery.start_soon(
                    partial(live.close, action, "shutdown", step=grace / 3, reason="shutdown")
                )
        self.rings.shut()

    async def _run(
        self, live: LiveSession, held: ExitStack, settings: EngineLaunch, event: str | None
    ) -> None:
        """A live session's task."""
        with held:
            try:
                await live.run(settings, event)
            finally:
                del self._live[live.stored.session.id]
