"""Makes sure that a conversation is on disk before an engine resumes it, and says what was lost.

The transcript lies in the agent's home, so it may be gone, empty, cut or full of anything. What the
daemon has stored of the conversation is then written into a new one.
"""

import msgspec
import trio
from msgspec import Raw, Struct

from ash.protocol import History, HistoryWanted, Recovered, encode, is_uuid
from bridge import home, transcripts
from bridge.engine import EngineError, Launch, WriteLog
from bridge.outbox import Outbox
from bridge.transcripts import FoundTranscript

# How long the daemon may take to send what it has stored.
HISTORY_SECONDS = 10.0
# What the CLI says if it finds no message in a transcript, even if its lines are valid JSON.
_REFUSAL = "No conversation found"


class _Kind(Struct):
    type: str = ""


class Memory:
    """`prepare` is called before each opening of an engine, by one task."""

    def __init__(self, outbox: Outbox, write_log: WriteLog) -> None:
        self._outbox = outbox
        self._write_log = write_log
        self._came = trio.Event()
        self._history: list[Raw] = []
        self._refused = ""

    def take(self, history: History) -> None:
        """The daemon's answer."""
        self._history = history.messages
        self._came.set()

    async def prepare(self, launch: Launch, *, resume: bool) -> bool:
        """Whether the engine has to resume the conversation; otherwise it begins it.

        Raises EngineError if the files can't be used.
        """
        if not is_uuid(launch.session_id):
            raise EngineError(f"The session id must be a UUID, not {launch.session_id!r}")
        try:
            for text in await trio.to_thread.run_sync(home.mend):
                self._report(Recovered(text))
            return await self._prepare(launch, resume=resume)
        except OSError as error:
            raise EngineError(f"The agent's home can't be used: {_in_words(error)}") from error

    def refused(self, launch: Launch, why: str) -> bool:
        """Whether the CLI has ended because of the transcript; `prepare` then makes a new one."""
        if _REFUSAL not in why:
            return False
        self._refused = launch.session_id
        return True

    async def _prepare(self, launch: Launch, *, resume: bool) -> bool:
        session_id, last = launch.session_id, launch.last
        found = await trio.to_thread.run_sync(transcripts.look_at, session_id, last)
        if self._refused == session_id:
            self._refused = ""
            found = FoundTranscript(found.path, fault="is not accepted by the CLI")
        if found.complete:
            await self._mend_end(found, known=last is not None)
            return resume
        for branch in (launch.fork or []) if found.path is None else []:
            if await trio.to_thread.run_sync(transcripts.branch_off, branch, session_id, last):
                return True
        history = await self._stored() if resume else []
        return await self._recover(launch, found, history)

    async def _mend_end(self, found: FoundTranscript, *, known: bool) -> None:
        """A last line that is cut is no loss if the last message that is known is there."""
        await trio.to_thread.run_sync(transcripts.mend_end, found)
        if found.cut is not None and not known:
            text = "The last line of the conversation's transcript was cut, and is left out"
            self._report(Recovered(text, memory="partial"))

    async def _recover(self, launch: Launch, found: FoundTranscript, history: list[Raw]) -> bool:
        if found.path is not None and (history or not found.speaks):
            await trio.to_thread.run_sync(transcripts.set_aside, found.path)
        if history:
            count = await trio.to_thread.run_sync(transcripts.write, launch.session_id, history)
            # An agent that had said nothing yet never had a transcript.
            known = launch.last is not None or launch.began or launch.fork
            if known or found.path is not None or any(map(_is_said_by_agent, history)):
                restored = "1 message was" if count == 1 else f"{count} messages were"
                text = f"The conversation's transcript {found.fault}. {restored} restored"
                self._report(Recovered(text, memory="partial"))
            return True
        # The daemon knows of no message: nothing was ever said, or all of it was cleared.
        if launch.last is not None or launch.began or found.speaks:
            text = f"The conversation's transcript {found.fault}, and nothing of it is stored"
            self._report(Recovered(text, memory="partial" if found.speaks else "lost"))
        return found.speaks

    async def _stored(self) -> list[Raw]:
        self._came, self._history = trio.Event(), []
        self._outbox.put_now(encode(HistoryWanted()))
        with trio.move_on_after(HISTORY_SECONDS):
            await self._came.wait()
        return self._history

    def _report(self, recovered: Recovered) -> None:
        self._write_log(recovered.text)
        self._outbox.put_now(encode(recovered))


def _is_said_by_agent(message: Raw) -> bool:
    try:
        return msgspec.json.decode(message, type=_Kind).type == "assistant"
    except msgspec.DecodeError:
        return False


def _in_words(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)
