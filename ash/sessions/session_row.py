"""The row of a session, as the daemon that runs the session knows it."""

import trio
from msgspec import structs

from ash import events
from ash.clock import Clock, now_iso
from ash.lifecycle import CHANGES, Action
from ash.model import StoredSession
from ash.sessions.turn import WriteEnd
from ash.store import Store
from ash.store.sessions import StatusChange


class SessionRow:
    """Changes the row and keeps `stored` equal to it.

    One change at a time: the answers to two changes that are committed together come back in
    any order, and the older one must not be kept.
    """

    def __init__(self, store: Store, clock: Clock, stored: StoredSession) -> None:
        self.stored = stored
        self._store = store
        self._clock = clock
        self._changing = trio.Lock()

    async def reload(self) -> None:
        """Reads what others may change: the session's configuration."""
        async with self._changing:
            await self._reload()

    async def change(self, action: Action, event: str | None = None, **more: str) -> bool:
        """Stores the new status with its lifecycle event; False if the status does not allow it.

        Can't be cancelled, because what was committed must be known here, too.
        """
        with trio.CancelScope(shield=True):
            async with self._changing:
                changed = await self._store.change_session(
                    self.stored.session.id,
                    CHANGES[action],
                    now_iso(self._clock),
                    event=event or events.lifecycle(CHANGES[action].target, **more),
                    generation=self.stored.generation,
                )
                if changed is None:
                    await self._reload()
                else:
                    self.stored = changed
        return changed is not None

    async def end_turn(self, write: WriteEnd, action: Action | None, more: dict[str, str]) -> bool:
        """Calls `write` with the change that `action` is; whether the session was changed.

        With None, or if the status does not allow the action, the turn ends without a change.
        """
        async with self._changing:
            changed = await write(self._status_change(action, more))
            if changed is not None:
                self.stored = changed
        return changed is not None

    async def end_broken_turns(self, error: str, action: Action, more: dict[str, str]) -> None:
        """Ends turns whose end could not be stored, and changes the session with the last one."""

        async def write(status: StatusChange | None) -> StoredSession | None:
            now = now_iso(self._clock)
            return await self._store.end_broken_turns(self.stored, error, status, now)

        await self.end_turn(write, action, more)

    def _status_change(self, action: Action | None, more: dict[str, str]) -> StatusChange | None:
        if action is None or self.stored.session.status not in CHANGES[action].sources:
            return None
        return StatusChange(CHANGES[action], events.lifecycle(CHANGES[action].target, **more))

    async def _reload(self) -> None:
        found = await self._store.session_by_id(self.stored.session.id)
        if found is not None:
            self.stored = structs.replace(self.stored, session=found.session)
