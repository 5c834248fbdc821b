"""What an agent does without being asked: tasks in the background, and turns of its own."""

import trio

from ash.sessions.session_sandbox import SessionSandbox, Work

# The engine begins a turn within 0.2 s after a task has ended. Until then the session is not idle.
SETTLE_SECONDS = 2.0
# Bounds for the tasks that a bridge names. The agent may have taken the bridge over.
MOST_TASKS = 20
LONGEST_NAME = 200


class OwnWork:
    """Keeps a session from being idle while its agent works by itself, up to a limit.

    `limit` is in seconds and counts from the end of the last thing that a client has asked for.
    `tasks` are the descriptions of what runs in the background. `seen` says whether the agent has
    ever worked by itself: then a message may meet a turn that the agent has just begun.
    """

    def __init__(self, sandbox: SessionSandbox, limit: float) -> None:
        self.tasks: list[str] = []
        self.seen = False
        self._sandbox = sandbox
        self._limit = limit
        self._clients = 0
        self._asked_at = trio.current_time()
        self._is_held = False
        self._changed = trio.Event()

    def update(self, tasks: list[str]) -> None:
        """Takes what the bridge says runs now."""
        self.tasks = [name[:LONGEST_NAME] for name in tasks[:MOST_TASKS]]
        self.seen = self.seen or bool(tasks)
        self._change()

    def asked_for(self, work: Work) -> Work:
        """The same work, counted as something that a client has asked for."""

        async def counted() -> None:
            try:
                await work()
            finally:
                self._clients -= 1
                self._asked_at = trio.current_time()
                self._change()

        self._clients += 1
        return counted

    def idle_since(self, since: float | None) -> float | None:
        """When the session became idle; `since` is None if anything runs in its sandbox.

        After the limit, what the agent does by itself no longer counts.
        """
        if self._clients or trio.current_time() < self._limit_at or not self.seen:
            return since
        return self._limit_at if since is None else min(since, self._limit_at)

    def cut(self) -> dict[str, str]:
        """What ends if the sandbox ends now, for the session's lifecycle event."""
        return {"cut": "; ".join(self.tasks)} if self.tasks else {}

    @property
    def _limit_at(self) -> float:
        return self._asked_at + self._limit

    def _change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
        if self._patience() > 0 and self.tasks and not self._is_held and self._sandbox.process:
            self._is_held = True
            self._sandbox.start(self._hold)

    async def _hold(self) -> None:
        """Keeps the sandbox busy while anything runs in its background, up to the limit."""
        try:
            while (patience := self._patience()) > 0:
                with trio.move_on_after(patience) as over:
                    await self._changed.wait()
                if over.cancelled_caught and not self.tasks:
                    return
        finally:
            self._is_held = False

    def _patience(self) -> float:
        """For how many seconds what the agent does by itself still counts."""
        return self._limit_at - trio.current_time() if self.tasks else SETTLE_SECONDS
