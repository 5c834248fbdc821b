"""The scripted engine, compared with recordings of the CLI that it imitates."""

import os
import select
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from msgspec import Raw

from ash.script import big
from bridge.engine import EngineDied, EngineError, EngineGone, Launch
from bridge.scripted import Scripted, ScriptedConversation

_FOLDER = Path(__file__).parent.parent / "fixtures" / "cli"
_MODEL = "claude-opus-5-5"
_GROUPS = msgspec.json.decode((_FOLDER / "scenarios.json").read_bytes())
_lines: list[str] = []
_SESSION = "4f7f6bd5-4fd1-4a0c-9a4e-0f9c1d4be000"


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch) -> Path:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    monkeypatch.chdir(workspace)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("CLAUDE_CONFIG_DIR", raising=False)
    return workspace


def _open(*, resume: bool = False, **launch: Any):
    launch.setdefault("session_id", _SESSION)
    return Scripted().open(Launch(**launch), resume=resume, write_log=_lines.append)


class _Said(list[dict[str, Any]]):
    """Records what a turn emits; `at` calls a function after a matching message."""

    def __init__(self) -> None:
        self._calls: list[tuple[Any, Any]] = []

    def at(self, when, call) -> None:
        self._calls.append((when, call))

    async def emit(self, raw: bytes | memoryview) -> None:
        self.append(msgspec.json.decode(raw))
        for when, call in self._calls:
            if when(self[-1]):
                await call()

    @property
    def result(self) -> dict[str, Any]:
        assert "result" == self[-1]["type"]
        return self[-1]

    @property
    def kinds(self) -> list[str]:
        return [_kind(message) for message in self]


async def _say(conversation: ScriptedConversation, prompt: Any, said: _Said) -> None:
    await conversation.turn(Raw(msgspec.json.encode(prompt)), None, said.emit)


async def _turn(conversation: ScriptedConversation, prompt: Any, model: str | None = None) -> _Said:
    said = _Said()
    await conversation.turn(Raw(msgspec.json.encode(prompt)), model, said.emit)
    return said


def _kind(message: dict[str, Any]) -> str:
    event = message.get("event", {})
    parts = [message["type"], message.get("subtype"), event.get("type")]
    parts += [event.get(name, {}).get("type") for name in ("content_block", "delta")]
    return " ".join(part for part in parts if part)


def _is_delta(message: dict[str, Any]) -> bool:
    return _kind(message).endswith("text_delta")


def _keys(value: Any, path: str = "") -> set[str]:
    """The path of every key in a message, with model names replaced by numbers."""
    if isinstance(value, list):
        return set().union(*(_keys(item, f"{path}[]") for item in value))
    if not isinstance(value, dict):
        return set()
    if path.endswith(("modelUsage", "model_usage_since_last_result")):
        value = dict(enumerate(value.values()))
    below = (_keys(item, f"{path}.{key}") for key, item in value.items())
    return {f"{path}.{key}" for key in value}.union(*below)


def _ending(result: dict[str, Any], workspace: Path) -> dict[str, Any]:
    same = ("subtype", "terminal_reason", "stop_reason", "is_error", "num_turns", "result")
    usage = dict(result["usage"])
    # An answer costs by its length, and so by the length of a path in it.
    if str(workspace) in str(result.get("result")):
        del usage["output_tokens"]
    return {**{name: result.get(name) for name in same}, "usage": usage}


async def _interrupt_when_begun(conversation: ScriptedConversation, fifo: Path) -> None:
    await trio.to_thread.run_sync(fifo.read_text)  # returns when the command has got so far
    await conversation.interrupt()


@pytest.mark.parametrize("group", _GROUPS, ids=lambda group: " ".join(group["launch"]) or "plain")
async def test_messages_are_those_of_the_real_cli(group, workspace, nursery) -> None:
    """The same script gives the same messages and fields in the same order."""
    os.mkfifo(workspace / "begun")
    async with _open(model=_MODEL, **group["launch"]) as conversation:
        for name, text in group["turns"].items():
            said = _Said()
            if name == "interrupted-text":
                said.at(_is_delta, conversation.interrupt)
            if name == "interrupted-tool":
                nursery.start_soon(_interrupt_when_begun, conversation, workspace / "begun")
            await _say(conversation, text, said)
            recording = (_FOLDER / f"{name}.ndjson").read_text()
            lines = recording.replace("/workspace", str(workspace)).splitlines()
            recorded = [msgspec.json.decode(line) for line in lines]
            assert [*map(_kind, recorded)] == said.kinds, name
            assert [*map(_keys, recorded)] == [*map(_keys, said)], name
            assert _ending(recorded[-1], workspace) == _ending(said.result, workspace), name


async def test_every_message_names_its_session() -> None:
    """Each message has the conversation's session id and a uuid of its own."""
    async with _open() as conversation:
        said = await _turn(conversation, "THINK: hard")
    assert {_SESSION} == {message["session_id"] for message in said}
    assert len(said) == len({message["uuid"] for message in said})


async def test_prompt_of_blocks_is_read_by_its_texts() -> None:
    """The last text block is the command, whatever other blocks there are."""
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": ""}}
    async with _open() as conversation:
        said = await _turn(conversation, [{"type": "text", "text": "RECALL"}, image])
    assert '["RECALL"]' == said.result["result"]


async def test_recall_lists_texts_from_before_a_resume() -> None:
    """A resumed conversation remembers all turns, also interrupted and failed ones."""
    async with _open() as conversation:
        await _turn(conversation, "one")
        await _turn(conversation, "FAIL: 500")
    async with _open(resume=True) as conversation:
        said = await _turn(conversation, "RECALL")
    assert '["one","FAIL: 500","RECALL"]' == said.result["result"]


async def test_prompt_is_on_disk_before_the_result_is_sent(tmp_path) -> None:
    """Killing the engine as soon as a result is seen loses nothing."""
    kept: list[int] = []

    async def look() -> None:
        kept.append(sum(path.stat().st_size > 0 for path in tmp_path.glob("home/**/*.jsonl")))

    said = _Said()
    said.at(lambda message: message["type"] == "result", look)
    async with _open() as conversation:
        await _say(conversation, "hello", said)
    assert [1] == kept


async def test_resume_of_an_unknown_session_begins_it() -> None:
    """Resuming a conversation that was never written begins it."""
    async with _open(resume=True) as conversation:
        said = await _turn(conversation, "RECALL")
    assert '["RECALL"]' == said.result["result"]


async def test_open_of_a_known_session_is_an_error() -> None:
    """Only a resume may use an existing session id."""
    async with _open() as conversation:
        await _turn(conversation, "hello")
    with pytest.raises(EngineError, match=f"Session ID {_SESSION} is already in use"):
        async with _open():
            pass


async def test_open_without_a_turn_leaves_the_session_id_free() -> None:
    """A conversation exists only from its first prompt on, as with the CLI."""
    async with _open():
        pass
    async with _open() as conversation:
        assert "echo: hello" == (await _turn(conversation, "hello")).result["result"]


async def test_resume_works_from_another_folder(workspace, monkeypatch) -> None:
    """A conversation is found by its session id alone."""
    async with _open() as conversation:
        await _turn(conversation, "hello")
    elsewhere = workspace / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    async with _open(resume=True) as conversation:
        said = await _turn(conversation, "RECALL")
    assert '["hello","RECALL"]' == said.result["result"]


async def test_crash_ends_the_turn_without_a_result() -> None:
    """A crash comes in the middle of the stream, and no further turn is possible."""
    said = _Said()
    async with _open() as conversation:
        with pytest.raises(EngineDied, match="killed by signal 9"):
            await _say(conversation, "CRASH", said)
        with pytest.raises(EngineGone):
            await _turn(conversation, "hello")
    assert "stream_event content_block_delta text_delta" == said.kinds[-1]


async def test_conversation_can_be_resumed_after_a_crash() -> None:
    """After a crash the earlier turns are remembered and the crashed one is not."""
    async with _open() as conversation:
        await _turn(conversation, "one")
        with pytest.raises(EngineDied):
            await _turn(conversation, "CRASH")
    async with _open(resume=True) as conversation:
        said = await _turn(conversation, "RECALL")
    assert '["one","RECALL"]' == said.result["result"]


async def test_slow_spreads_its_deltas_over_the_seconds(autojump_clock) -> None:
    """The first delta comes at once, and a pause follows each, the last included."""
    times: list[float] = []

    async def note() -> None:
        times.append(trio.current_time())

    said = _Said()
    said.at(_is_delta, note)
    async with _open() as conversation:
        start = trio.current_time()
        await _say(conversation, "SLOW: 4 2", said)
    assert [0.0, 0.5, 1.0, 1.5] == [round(time - start, 2) for time in times]
    assert 2000 <= said.result["duration_ms"] < 2100


async def test_interrupt_while_nothing_runs_changes_nothing() -> None:
    """An interrupt while no turn runs does not shorten the next turn."""
    async with _open() as conversation:
        await conversation.interrupt()
        said = await _turn(conversation, "hello")
        await conversation.interrupt()
    assert "completed" == said.result["terminal_reason"]


async def test_interrupt_during_a_burst_ends_it_after_the_delta() -> None:
    """The message has the text so far; the write of a line is never interrupted."""
    said = _Said()
    async with _open() as conversation:
        said.at(_is_delta, conversation.interrupt)
        await _say(conversation, "BURST: 1000", said)
    [message] = [message for message in said if message["type"] == "assistant"]
    assert "tick0 " == message["message"]["content"][0]["text"]
    assert "aborted_streaming" == said.result["terminal_reason"]


async def test_interrupted_conversation_goes_on() -> None:
    """A turn after an interrupted one runs to its end."""
    said = _Said()
    async with _open() as conversation:
        said.at(_is_delta, conversation.interrupt)
        await _say(conversation, "SLOW: 2 60", said)
        after = await _turn(conversation, "RECALL")
    assert '["SLOW: 2 60","RECALL"]' == after.result["result"]


async def test_bash_runs_in_the_workspace(workspace) -> None:
    """Bash really runs commands, in the engine's folder."""
    async with _open() as conversation:
        said = await _turn(conversation, "BASH: echo content > made.txt; pwd")
    assert f"done: {workspace}" == said.result["result"]
    assert "content\n" == (workspace / "made.txt").read_text()


async def test_bash_that_cannot_start_is_a_tool_error() -> None:
    """A command that can't be started fails the tool, not the turn."""
    async with _open() as conversation:
        said = await _turn(conversation, "BASH: echo \0")
    assert "failed: embedded null byte" == said.result["result"]


@pytest.mark.parametrize("how", ["interrupt", "cancel"])
async def test_stopped_bash_leaves_no_process(how, workspace, nursery) -> None:
    """An interrupted command's whole process group is gone when the turn ends."""
    os.mkfifo(workspace / "begun")
    prompt = "BASH: sleep 1000 & echo $! > begun; wait"
    pids: list[int] = []
    async with _open() as conversation:

        async def stop(scope: trio.CancelScope) -> None:
            pids.append(int(await trio.to_thread.run_sync((workspace / "begun").read_text)))
            await conversation.interrupt() if how == "interrupt" else scope.cancel()

        with trio.fail_after(10), trio.CancelScope() as scope:
            nursery.start_soon(stop, scope)
            await _turn(conversation, prompt)
    with trio.fail_after(10):
        await trio.to_thread.run_sync(_wait_until_gone, pids[0])


def _wait_until_gone(pid: int) -> None:
    with suppress(ProcessLookupError):
        process = os.pidfd_open(pid)
        select.select([process], [], [])
        os.close(process)


async def test_write_really_writes(workspace) -> None:
    """Write puts the text into the file unchanged, line ends included."""
    async with _open() as conversation:
        await _turn(conversation, "WRITE: deep/er/a.txt one\r\ntwo ü\n")
    assert "one\r\ntwo ü\n".encode() == (workspace / "deep/er/a.txt").read_bytes()


@pytest.mark.parametrize("path", ["../out.txt", "{tmp}/out.txt", "link/out.txt", "link2"])
async def test_write_outside_of_the_workspace_is_a_tool_error(path, workspace, tmp_path) -> None:
    """A relative path, an absolute path or a symlink that leads out is refused."""
    (workspace / "link").symlink_to(tmp_path)
    (workspace / "link2").symlink_to(tmp_path / "out.txt")
    async with _open() as conversation:
        said = await _turn(conversation, f"WRITE: {path.format(tmp=tmp_path)} text")
    assert said.result["result"].startswith("failed: <tool_use_error>")
    assert "is outside of the workspace" in said.result["result"]
    assert not (tmp_path / "out.txt").exists()


async def test_write_that_the_system_refuses_is_a_tool_error(workspace) -> None:
    """An error of the file system fails the tool, not the turn."""
    (workspace / "file").write_text("")
    async with _open() as conversation:
        said = await _turn(conversation, "WRITE: file/a.txt text")
    assert said.result["result"].startswith("failed: [Errno")


async def test_big_text_arrives_whole() -> None:
    """Two MiB of every kind of Unicode arrive in the deltas and in the message."""
    async with _open() as conversation:
        said = await _turn(conversation, "BIG: 2048")
    deltas = [message["event"]["delta"]["text"] for message in said if _is_delta(message)]
    expected = big(2048).text
    assert expected == "".join(deltas)
    assert expected == said.result["result"]


async def test_init_shows_the_settings_of_the_engine() -> None:
    """`init` shows the session's settings, so that tests can check them."""
    settings: dict[str, Any] = {
        "model": "some-model",
        "permission_mode": "bypassPermissions",
        "mcp_servers": {"tickets": {"url": "http://localhost/mcp"}},
        "disallowed_tools": ["Write"],
        "subagents": {"critic": {"description": "d", "prompt": "p"}},
    }
    async with _open(**settings) as conversation:
        init = (await _turn(conversation, "hello"))[0]
    assert "some-model" == init["model"]
    assert "bypassPermissions" == init["permissionMode"]
    assert ["tickets"] == [server["name"] for server in init["mcp_servers"]]
    assert ["Bash"] == init["tools"]
    assert "critic" in init["agents"]


async def test_model_named_with_a_turn_is_for_that_turn() -> None:
    """A turn's model is in its messages; the next turn has the session's again."""
    async with _open(model="first") as conversation:
        models = [
            (await _turn(conversation, "hello", model))[2]["event"]["message"]["model"]
            for model in (None, "second", None)
        ]
    assert ["first", "second", "first"] == models


async def test_cost_adds_up_over_the_process() -> None:
    """`total_cost_usd` counts over the process, `usage` for the turn alone."""
    async with _open() as conversation:
        first = (await _turn(conversation, "hello")).result
        second = (await _turn(conversation, "hello")).result
    assert [0, 1] == [first["result_index"], second["result_index"]]
    assert first["total_cost_usd"] < second["total_cost_usd"]
    assert first["usage"]["output_tokens"] == second["usage"]["output_tokens"]


def test_import_takes_no_sdk_and_no_server() -> None:
    """Importing the scripted engine imports no SDK and no server code."""
    code = "import bridge.scripted, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    slow = {"claude_agent_sdk", "claude_code_sdk", "mcp", "anyio", "h11", "httpx", "hypercorn"}
    assert set() == slow & set(loaded.stdout.decode().split())
