"""The command `ashd`: its flags, and its one line if it can't start."""

import gc
import json
import sys
from types import SimpleNamespace

import pytest
import structlog
from click.testing import CliRunner

from ash import config
from ash.cli import ashd, main
from ash.config import OPTIONS
from ash.errors import StartError


@pytest.fixture
def started(clean, monkeypatch):
    """Runs `ashd` up to the daemon; returns the settings that the daemon gets."""
    seen = []

    async def run(settings):
        seen.append(settings)

    fake = SimpleNamespace(run=run)
    monkeypatch.setitem(sys.modules, "ash.daemon", fake)
    monkeypatch.setattr("ash.daemon", fake, raising=False)
    monkeypatch.setattr("ash.log.configure", lambda *_: None)
    return seen


def run(*arguments, **options):
    return CliRunner().invoke(ashd.main, arguments, **options)


def fails_with(monkeypatch, error):
    async def fail(settings):
        raise error

    monkeypatch.setattr("ash.daemon.run", fail)


def test_ashd_flags_over_environment_over_file(started, clean):
    """Flags override the environment, which overrides ash.toml."""
    (clean / "ash.toml").write_text('port = 1\nhost = "file"\nengine = "scripted"')

    run("--port", "3", env={"ASH_PORT": "2", "ASH_HOST": "env"})

    assert started == [config.Settings(host="env", port=3, engine="scripted")]


def test_ashd_config(started, clean):
    """--config names the file."""
    (clean / "other.toml").write_text("port = 7")

    run("--config", "other.toml")

    assert started[0].port == 7


@pytest.mark.parametrize("command", [["ashd"], ["ash", "start"]])
def test_help_names_every_option(command):
    """Each setting is a flag of `ashd` and of `ash start`, shown with its variable."""
    group = {"ashd": ashd.main, "ash": main}[command[0]]
    words = CliRunner().invoke(group, [*command[1:], "--help"]).stdout.split()

    for option in OPTIONS:
        assert option.flag in words
        assert f"[{option.env}]" in words


def test_start_in_the_foreground(started, ash):
    """`ash start` runs `ashd`."""
    ash("start", "--port", "5", "--data-dir", "elsewhere")

    assert [(s.port, str(s.data_dir)) for s in started] == [(5, "elsewhere")]


def test_ashd_setting_that_does_not_fit(started):
    """An invalid setting is one line and exit code 1."""
    result = run("--port", "x")

    assert result.exit_code == 1
    assert result.stderr == (
        "ashd: port (from --port) must be a whole number from 0 to 65535, not 'x'\n"
    )


def test_ashd_that_cannot_start(started, monkeypatch):
    """An error of the start is one line, also out of nested exception groups."""
    error = StartError("port 4100 is in use")
    fails_with(monkeypatch, ExceptionGroup("", [ExceptionGroup("", [error])]))

    result = run()

    assert (result.exit_code, result.stderr) == (1, "ashd: port 4100 is in use\n")


def test_ashd_that_crashes(started, monkeypatch):
    """A bug of the daemon is logged with its traceback."""
    fails_with(monkeypatch, ZeroDivisionError("by zero"))

    with structlog.testing.capture_logs() as logs:
        result = run()

    assert result.exit_code == 1
    assert logs[0]["event"] == "daemon.crashed"
    assert isinstance(logs[0]["exc_info"], BaseException)


def test_ashd_unknown_variable(started):
    """An unknown ASH_ variable is warned of."""
    with structlog.testing.capture_logs() as logs:
        run(env={"ASH_PROT": "1"})

    assert "ASH_PROT is not a setting of ash; did you mean ASH_PORT?" in json.dumps(logs)
    assert len(started) == 1


def test_imports_are_left_out_of_the_collection_of_garbage(started, monkeypatch):
    """A full collection would look at all of them, which holds the loop for 50 ms."""
    frozen = []

    async def note(_):
        frozen.append(gc.get_freeze_count())

    monkeypatch.setattr("ash.daemon.run", note)
    try:
        assert 0 == run().exit_code
    finally:
        gc.unfreeze()
    assert [True] == [count > 10_000 for count in frozen]
