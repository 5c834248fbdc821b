"""Ends, in the store, what a daemon that crashed left running."""

from ash.lifecycle import Change
from ash.model import Session, StoredSession, TurnReason
from ash.store.driver import OwnershipLost
from ash.store.history import HistoryRepository, OpenTurn, TurnEnd
from ash.store.sessions import SessionRepository, StatusChange

LOST = Change(("starting", "active"), "paused")

_PAUSED = '{"action":"paused","reason":"the daemon was restarted"}'
_CUT = "The daemon was restarted during the turn"


class RecoveryRepository(HistoryRepository, SessionRepository):
    async def recover(self, owner: str, now: str) -> list[Session]:
        """Ends the turns and pauses the sessions that `owner` left running; returns the sessions.

        The turns end as `lost`, with an error in the timeline. The sessions get a new generation,
        so that whoever holds the old one can't write any more. Safe to repeat.
        """
        for turn in await self.open_turns(owner):
            await self._end(turn, "lost", _CUT, now)
        left = await self.running_sessions(owner)
        paused = [
            await self.change_session(
                stored.session.id,
                LOST,
                now,
                event=_PAUSED,
                generation=stored.generation,
                new_generation=True,
            )
            for stored in left
        ]
        return [stored.session for stored in paused if stored]

    async def end_broken_turns(
        self, stored: StoredSession, error: str, status: StatusChange | None, now: str
    ) -> StoredSession | None:
        """Ends turns of this generation whose end could not be stored in time. Safe to repeat.

        The last of them ends in one unit with the change of the session's status. Returns the
        changed session, or None if it stays as it is.
        """
        turns = [
            turn
            for turn in await self.open_turns(stored.owner, stored.session.id)
            if turn.generation == stored.generation
        ]
        changed = None
        for turn in turns:
            change = status if turn is turns[-1] else None
            changed = await self._end(turn, "error", error, now, change)
        return changed

    async def _end(
        self,
        turn: OpenTurn,
        reason: TurnReason,
        text: str,
        now: str,
        status: StatusChange | None = None,
    ) -> StoredSession | None:
        end = TurnEnd(reason, turn.error_frame + 1, text)
        try:
            return await self.end_turn(
                turn.id,
                turn.session_id,
                turn.generation,
                end,
                next_frame=end.frame + 1,
                now=now,
                status=status,
            )
        except OwnershipLost:
            return None
