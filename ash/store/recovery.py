"""After a crash: nothing may claim to run that nobody runs."""

import msgspec

from ash.lifecycle import Change
from ash.model import Session
from ash.store.driver import Lost
from ash.store.history import History, OpenTurn
from ash.store.sessions import Sessions

LOST = Change(("starting", "active"), "paused")

_PAUSED = '{"action":"paused","reason":"the daemon was restarted"}'
_CUT = "The daemon was restarted during the turn"


class Recovery(History, Sessions):
    async def recover(self, owner: str, now: str) -> list[Session]:
        """Ends and pauses what an earlier life of `owner` left running; what was paused.

        A turn that was cut ends as `lost`, with its error in the timeline. Sessions get a new
        generation: whoever still holds the old one can write no more. Safe to repeat.
        """
        for turn in await self.open_turns(owner):
            await self._end(turn, now)
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

    async def _end(self, turn: OpenTurn, now: str) -> None:
        error = msgspec.json.encode({"error": _CUT}).decode()
        try:
            await self.end_turn(
                turn.id,
                turn.session_id,
                turn.generation,
                "lost",
                error=_CUT,
                error_frame=turn.error_frame,
                end_frame=turn.error_frame + 1,
                events=[("error", error)],
                next_frame=turn.error_frame + 2,
                now=now,
            )
        except Lost:
            return
