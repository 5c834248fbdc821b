"""Transcripts as the bridge finds them, whatever the agent has made of them."""

import json
import os
from pathlib import Path
from uuid import uuid4

import pytest
from msgspec import Raw

from ash.protocol import Branch, History, HistoryWanted, Recovered, decode_event
from bridge import transcripts
from bridge.engine import EngineError, Launch
from bridge.memory import Memory

SESSION, OTHER = "0b0c1d2e-aaaa-4aaa-8aaa-000000000001", "0b0c1d2e-aaaa-4aaa-8aaa-000000000002"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("CLAUDE_CONFIG_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def line(kind, uuid, text="hi", session=SESSION):
    message = {"role": kind, "content": text}
    whole = {"type": kind, "uuid": uuid, "sessionId": session, "message": message}
    return json.dumps(whole, separators=(",", ":")).encode() + b"\n"


GOOD = line("user", "u1") + line("assistant", "a1")


def keep(data: bytes, session_id=SESSION) -> Path:
    """A transcript with those bytes."""
    path = transcripts.config_folder() / "projects" / "-some-where" / f"{session_id}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


class Daemon:
    """The daemon's end: it has stored `history`, and hears what was recovered."""

    def __init__(self, *history):
        self.history = [Raw(json.dumps(message).encode()) for message in history]
        self.recovered = []
        self.log = []
        self.memory = Memory(self, self.log.append)

    def put_now(self, data):
        match decode_event(data.rstrip(b"\n")):
            case HistoryWanted():
                self.memory.take(History(messages=self.history))
            case Recovered() as recovered:
                self.recovered.append((recovered.memory, recovered.text))

    async def prepare(self, *, resume=True, **launch):
        return await self.memory.prepare(Launch(session_id=SESSION, **launch), resume=resume)


STORED = (
    {"type": "user", "content": "hello"},
    {"type": "assistant", "uuid": str(uuid4()), "message": {"role": "assistant", "content": []}},
)


async def test_whole_transcript_is_resumed():
    """Nothing is changed, asked or said."""
    daemon, path = Daemon(*STORED), keep(GOOD)
    assert await daemon.prepare(last="a1")
    assert (GOOD, []) == (path.read_bytes(), daemon.recovered)


async def test_transcript_is_looked_for_where_the_cli_keeps_it(monkeypatch, home):
    """CLAUDE_CONFIG_DIR replaces the folder in the home directory."""
    keep(GOOD)
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(home / "elsewhere"))
    assert not await Daemon().prepare()
    keep(GOOD)
    assert await Daemon().prepare()


async def test_conversation_in_which_nothing_was_said_begins_anew():
    """That is no loss, and a file that the CLI left when it was killed early is set aside."""
    daemon, path = Daemon(), keep(b'{"type":"queue-operation"}\n')
    assert not await daemon.prepare()
    assert not path.exists()
    assert b'{"type":"queue-operation"}\n' == path.with_name(f"{path.name}.broken").read_bytes()
    assert [] == daemon.recovered


@pytest.mark.parametrize("session_id", ["", "*", "../x", "not-a-uuid", SESSION.upper()])
async def test_session_id_is_a_uuid(session_id):
    """A session id that is no UUID is refused, because it becomes part of a path."""
    with pytest.raises(EngineError, match="must be a UUID"):
        await Daemon().memory.prepare(Launch(session_id=session_id), resume=True)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (None, "is gone"),
        (b"", "is empty"),
        (os.urandom(2000), "holds no message that can be read"),
        (b'{"type":"user"}\n[]\n5\n', "holds no message that can be read"),
        (GOOD.replace(b'"hi"', b"5"), "holds no message that can be read"),
        (
            line("user", "u1") + b"\xff\n" + line("assistant", "a1"),
            "has lines that can't be read",
        ),
        (line("user", "u1"), "ends before the last message"),
        (GOOD.replace(b'"uuid":"a1"', b'"parentUuid":"u0","uuid":"a1"'), "has lost its beginning"),
        (GOOD[:-9], "ends before the last message"),
    ],
)
async def test_broken_transcript_is_restored_from_what_is_stored(data, fault):
    """It is set aside, and the session says what is wrong and what was restored."""
    daemon = Daemon(*STORED)
    path = transcripts.path_for(SESSION) if data is None else keep(data)
    assert await daemon.prepare(last="a1")
    ((memory, text),) = daemon.recovered
    assert "partial" == memory
    assert text.startswith(f"The conversation's transcript {fault}")
    assert text.endswith("2 messages were restored")
    assert [text] == daemon.log
    kept = path.with_name(f"{path.name}.broken")
    assert data == (kept.read_bytes() if kept.exists() else None)
    prompt, answer = map(json.loads, transcripts.path_for(SESSION).read_bytes().splitlines())
    assert ("hello", None) == (prompt["message"]["content"], prompt["parentUuid"])
    assert (STORED[1]["uuid"], prompt["uuid"]) == (answer["uuid"], answer["parentUuid"])
    assert transcripts.look_at(SESSION, STORED[1]["uuid"]).complete


async def test_fork_after_a_prompt_that_has_no_answer_yet_begins_with_that_prompt():
    """There never was a transcript of it, so nothing is gone and nothing is said."""
    daemon = Daemon(STORED[0])
    assert await daemon.prepare()
    (prompt,) = map(json.loads, transcripts.path_for(SESSION).read_bytes().splitlines())
    assert ("hello", []) == (prompt["message"]["content"], daemon.recovered)


@pytest.mark.parametrize(
    "known", [{"last": "a1"}, {"began": True}, {"fork": [Branch(session_id=OTHER)]}]
)
async def test_only_message_that_is_stored_is_restored(known):
    """There was a transcript, so the session says that it is gone."""
    daemon = Daemon(STORED[0])
    assert await daemon.prepare(**known)
    text = "The conversation's transcript is gone. 1 message was restored"
    assert [("partial", text)] == daemon.recovered


async def test_transcript_that_the_cli_refuses_is_restored():
    """Its lines may be valid JSON all the same. Another failure of the CLI changes nothing."""
    daemon, path = Daemon(*STORED), keep(GOOD)
    launch = Launch(session_id=SESSION)
    assert not daemon.memory.refused(launch, "The engine died (SIGKILL)")
    assert await daemon.prepare(last="a1")
    assert (GOOD, []) == (path.read_bytes(), daemon.recovered)
    assert daemon.memory.refused(launch, "It last said: No conversation found with session ID")
    assert await daemon.prepare(last="a1")
    assert "transcript is not accepted by the CLI" in daemon.recovered[0][1]
    assert await daemon.prepare()
    assert 1 == len(daemon.recovered)


@pytest.mark.parametrize("known", [{"last": "a1"}, {"began": True}])
async def test_transcript_that_is_gone_and_not_stored_is_lost(known):
    """The conversation begins anew, and the session says so."""
    daemon = Daemon()
    assert not await daemon.prepare(**known)
    text = "The conversation's transcript is gone, and nothing of it is stored"
    assert [("lost", text)] == daemon.recovered


async def test_broken_transcript_that_is_not_stored_is_used_as_far_as_it_goes():
    """What is left of it is better than nothing."""
    daemon, path = Daemon(), keep(line("user", "u1") + b"{\n" + line("assistant", "a1"))
    before = path.read_bytes()
    assert await daemon.prepare(last="a1")
    assert ["partial"] == [memory for memory, _ in daemon.recovered]
    assert before == path.read_bytes()


@pytest.mark.parametrize(("last", "said"), [("a1", 0), (None, 1)])
async def test_last_line_that_is_cut_is_left_out(last, said):
    """If the last message that is known is there, nothing is missing."""
    daemon, path = Daemon(*STORED), keep(GOOD + b'{"type":"assist')
    assert await daemon.prepare(last=last)
    assert (GOOD, said) == (path.read_bytes(), len(daemon.recovered))


async def test_last_line_without_its_end_gets_it():
    """Otherwise the CLI would write its next line behind it."""
    path = keep(GOOD[:-1])
    assert await Daemon().prepare(last="a1")
    assert GOOD == path.read_bytes()


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
async def test_transcript_that_is_no_file_is_set_aside(make):
    """It is not even opened, because that could take for ever."""
    daemon, path = Daemon(*STORED), keep(b"")
    path.unlink()
    make(path)
    assert await daemon.prepare(last="a1")
    assert daemon.recovered[0][1].startswith("The conversation's transcript is not a file")
    assert [f"{path.name}.broken"] == [entry.name for entry in path.parent.iterdir()]
    assert transcripts.path_for(SESSION).is_file()


async def test_transcript_is_not_read_for_a_new_conversation():
    """Whoever begins a conversation under an id that is used is told by the engine."""
    keep(GOOD)
    assert not await Daemon(*STORED).prepare(resume=False)


@pytest.mark.parametrize(("at", "lines"), [("a1", 2), (None, 4)])
async def test_fork_begins_as_a_copy(at, lines):
    """Up to the message, even before a compaction, and under the fork's own id."""
    boundary = b'{"type":"system","subtype":"compact_boundary","uuid":"c"}\n'
    text = line("user", "u1", 'see "sessionId":"' + OTHER, session=OTHER)
    keep(
        text + line("assistant", "a1", session=OTHER) + boundary + GOOD[:0] + b'{"uuid":"a2"}',
        OTHER,
    )
    daemon = Daemon(*STORED)
    assert await daemon.prepare(last=at or "a2", fork=[Branch(session_id=OTHER, at=at)])
    copied = transcripts.path_for(SESSION).read_bytes().splitlines()
    assert (lines, []) == (len(copied), daemon.recovered)
    first = json.loads(copied[0])
    assert (SESSION, f'see "sessionId":"{OTHER}') == (
        first["sessionId"],
        first["message"]["content"],
    )


@pytest.mark.parametrize(
    "branch",
    [Branch(session_id="../x"), Branch(session_id=OTHER, at="a9"), Branch(session_id=OTHER)],
)
async def test_fork_of_what_is_not_there_is_restored(branch):
    """A parent's transcript that lacks the message is not taken for the conversation."""
    keep(line("user", "u1", session=OTHER) + line("assistant", "a1", session=OTHER), OTHER)
    daemon = Daemon(*STORED)
    assert await daemon.prepare(last="a2", fork=[branch])
    assert ["partial"] == [memory for memory, _ in daemon.recovered]


async def test_folder_that_can_not_be_written_is_named(monkeypatch):
    """An error says which file and why."""
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", "/proc/nowhere")
    with pytest.raises(EngineError, match=r"can't be used: /proc/nowhere.*: No such file"):
        await Daemon(*STORED).prepare(last="a1")
