"""How a script opens ash, and that it stays the master of its process."""

import os
import resource
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import structlog
import trio

from ash import Ash
from ash import daemon as ash_daemon
from ash.errors import ConfigError, StartError, Unavailable
from ash.store.sqlite import SqliteDriver
from tests.support.daemon import running, settings
from tests.support.embedded import embedded


def test_settings_are_those_of_the_daemon(data_dir, monkeypatch):
    """By name, and nothing comes from outside unless that is asked for."""
    monkeypatch.setenv("ASH_MAX_SANDBOXES", "3")
    assert 1000 == Ash(data_dir=str(data_dir)).settings.max_sandboxes
    assert ("model-only",) == Ash(network="model-only").settings.network
    assert 3 == Ash.from_environment(data_dir=data_dir).settings.max_sandboxes
    assert 4 == Ash.from_environment(max_sandboxes=4).settings.max_sandboxes


def test_settings_from_a_file(tmp_path, monkeypatch):
    """`ash.toml` of the working directory, or the one that is named."""
    monkeypatch.chdir(tmp_path)
    Path("ash.toml").write_text("max_warm = 1")
    Path("other.toml").write_text("max_warm = 2")
    assert 1 == Ash.from_environment().settings.max_warm
    assert 2 == Ash.from_environment("other.toml").settings.max_warm


def test_found_file_does_not_decide_where_a_key_goes(tmp_path, monkeypatch):
    """As with `ashd`: the file may be somebody else's, unless the script names it."""
    monkeypatch.chdir(tmp_path)
    Path("ash.toml").write_text('anthropic_base_url = "https://elsewhere.example"')
    with pytest.raises(ConfigError, match="anthropic_api_key"):
        Ash.from_environment(anthropic_api_key="k")
    named = Ash.from_environment("ash.toml", anthropic_api_key="k").settings
    assert "https://elsewhere.example" == named.anthropic_base_url


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"engine": "x"}, "engine (from Ash()) must be one of claude-agent, claude-code, scripted"),
        ({"engin": "x"}, "unknown key 'engin' in Ash(); did you mean engine?"),
        ({"max_sandboxes": 0}, "max_sandboxes (from Ash()) must be a whole number of 1 or more"),
    ],
)
def test_setting_that_does_not_fit_is_told(given, words):
    """Before anything is opened."""
    with pytest.raises(ConfigError) as refused:
        Ash(**given)
    assert refused.value.text.startswith(words)


async def test_isolation_that_is_given_up(data_dir, monkeypatch):
    """Without bubblewrap it opens only if the script asks for less, and warns."""
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(StartError, match="bubblewrap is not installed"):
        async with embedded(data_dir):
            pass
    with pytest.warns(RuntimeWarning) as warned:
        async with embedded(data_dir, isolation="best-effort") as ash:
            missing = (await ash.health())["isolation"]["missing"]
    assert [f"ash: {text}" for text in missing] == [str(each.message) for each in warned]


async def test_data_directory_has_one_user(data_dir):
    """A daemon or another script is refused, in words that say by whom."""
    who = f"A program that embeds ash (pid {os.getpid()})"
    async with embedded(data_dir) as ash:
        with pytest.raises(StartError) as refused:
            async with embedded(data_dir):
                pass
        assert f"{who} uses the data directory {data_dir}" == refused.value.text
        with pytest.raises(StartError) as refused:
            await ash_daemon.run(settings(data_dir))
        assert f"{who} uses the data directory {data_dir}" == refused.value.text
        assert [] == await ash.list_agents()
    async with running(settings(data_dir)):
        with pytest.raises(StartError) as refused:
            async with embedded(data_dir):
                pass
        assert f"Another ashd uses the data directory {data_dir}" == refused.value.text


async def test_two_at_once_on_two_directories(tmp_path):
    """They know nothing of each other."""
    async with embedded(tmp_path / "a") as a, embedded(tmp_path / "b") as b:
        await a.deploy_agent("helper", system_prompt="be kind")
        assert (1, 0) == (len(await a.list_agents()), len(await b.list_agents()))


async def test_is_opened_once_at_a_time(ash):
    """Twice at once can only be a mistake."""
    with pytest.raises(StartError, match="This Ash is open already"):
        async with ash:
            pass
    assert [] == await ash.list_agents()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"engine": "claude-agent", "claude_code_executable": "/none"},
            "The Claude CLI is missing",
        ),
        ({"network": "moon/"}, "network: "),
    ],
)
async def test_what_keeps_it_from_opening_is_told(data_dir, given, words):
    """As one StartError, in no group; the directory is free again."""
    for _ in range(2):
        with pytest.raises(StartError, match=words):
            async with Ash(data_dir=data_dir, **given):
                pass


def test_another_event_loop_is_refused(data_dir):
    """With a sentence that says which one it takes."""
    source = (
        "import asyncio, sys\nfrom ash import Ash\n"
        "async def main():\n    async with Ash(data_dir=sys.argv[1], engine='scripted'): pass\n"
        "asyncio.run(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", source, str(data_dir)], capture_output=True, text=True, check=False
    )
    assert "StartError: ash runs on trio" in done.stderr
    assert not data_dir.exists()


async def test_process_stays_the_scripts(data_dir, capfd):
    """No limit, no signal handler, no logging and no output of it is ash's."""

    def process():
        handlers = [signal.getsignal(number) for number in signal.valid_signals()]
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        return handlers, limits, structlog.is_configured()

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard // 2, hard))
    before = process()
    async with embedded(data_dir) as ash:
        during = process()
        await ash.deploy_agent("helper", system_prompt="be kind")
        session = await ash.create_session("helper")
        await ash.stop_session(session.id)
    assert before == during == process()
    assert ("", "") == capfd.readouterr()


async def test_store_that_fails_is_told_to_the_scripts_log(data_dir, caplog, capfd, monkeypatch):
    """A failure of the store goes where the script sends its log, and never to stdout."""
    structlog.reset_defaults()
    full = sqlite3.OperationalError("database or disk is full")
    full.sqlite_errorcode = sqlite3.SQLITE_FULL

    def execute(driver, statement):
        raise full

    async with embedded(data_dir) as ash:
        with monkeypatch.context() as failing:
            failing.setattr(SqliteDriver, "_execute", execute)
            with pytest.raises(Unavailable, match="full"):
                await ash.deploy_agent("helper", system_prompt="be kind")
    assert [("ash", "ERROR")] == [
        (record.name, record.levelname)
        for record in caplog.records
        if record.getMessage().startswith("store.failing")
    ]
    assert ("", "") == capfd.readouterr()


async def test_no_task_is_left(data_dir):
    """What was started is over when the block is left."""
    before = trio.lowlevel.current_statistics().tasks_living
    async with embedded(data_dir) as ash:
        await ash.deploy_agent("helper", system_prompt="be kind")
        await ash.create_session("helper")
        assert trio.lowlevel.current_statistics().tasks_living > before
    assert before == trio.lowlevel.current_statistics().tasks_living
