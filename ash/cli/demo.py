"""`ash demo`: shows the main features on a server of its own, without an API key."""

import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

import ash
from ash.cli import process
from ash.cli.demo_steps import (
    AGENT,
    FOR_MODEL,
    FOR_STUB,
    HELLO,
    WORD,
    DemoFailed,
    print_times,
    run,
)
from ash.cli.output import warn_of_missing_protection
from ash.client import AshClient
from ash.client.address import find_server
from ash.config_sources import CREDENTIALS
from ash.errors import AshError, ConfigError

if TYPE_CHECKING:
    from ash.testing import Request, Say

# A little more than the daemon may take to end (10 s of grace and 5 s).
_END_TIMEOUT = 20.0
_LOG_LINES = 15
# A traceback in a line of JSON can fill screens.
_LOG_WIDTH = 500

_KEYS = [name.upper() for name in CREDENTIALS]


@click.command("demo")
@click.option("--real-model", is_flag=True, help="Ask the real model; needs ANTHROPIC_API_KEY.")
@click.option(
    "--engine",
    type=click.Choice(["claude-agent", "claude-code", "scripted"]),
    default="claude-agent",
    show_default=True,
)
def run_demo(*, real_model: bool, engine: str) -> None:
    """Show the main job end to end, without an API key.

    Starts a server on a free port with a temporary data directory, deploys hello-agent,
    streams an answer, runs a tool, asks what was said before, and cleans up. Exits with 0 only
    if all of it worked.
    """
    if real_model and engine == "scripted":
        raise ConfigError("--real-model needs an engine that speaks to a model, not scripted")
    if real_model and not any(os.environ.get(name) for name in _KEYS):
        raise ConfigError("--real-model needs ANTHROPIC_API_KEY in the environment")
    agent = _agent_folder()
    started = time.monotonic()
    with (
        _sigterm_as_exit(),
        _model(real=real_model) as model_env,
        _server(engine, model_env) as client,
    ):
        warn_of_missing_protection(client.health())
        rows = run(client, agent, FOR_MODEL if real_model else FOR_STUB, started)
    click.echo()
    print_times(rows)
    click.echo("\nAll of it worked.")


@contextmanager
def _sigterm_as_exit() -> Iterator[None]:
    """Makes SIGTERM raise SystemExit, so that the server is ended and its folder removed."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _model(*, real: bool) -> Iterator[Mapping[str, str]]:
    """The environment variables that name the server's model endpoint."""
    if real:
        wanted = ("ANTHROPIC_BASE_URL", "ANTHROPIC_CUSTOM_HEADERS", *_KEYS)
        yield {name: os.environ[name] for name in wanted if name in os.environ}
        return
    from ash.testing import StubModel  # needed here alone

    with StubModel.in_thread(answer=_greeting) as model:
        yield {"ANTHROPIC_BASE_URL": model.url, "ANTHROPIC_API_KEY": "no-key-is-needed"}


def _greeting(request: "Request") -> "Say | None":
    """The stub's answer to the first question; other questions are answered by the script."""
    from ash.testing import Say

    if request.tool_result or request.text != HELLO:
        return None
    words = f"Hello! I am {AGENT}, and today's word is {WORD}. Each word came as it was said."
    return Say(tuple(f"{word} " for word in words.split()), pause=0.03)


@contextmanager
def _server(engine: str, model_env: Mapping[str, str]) -> Iterator[AshClient]:
    """A server for the demo; leaving the context ends it and removes its files."""
    with TemporaryDirectory(prefix="ash-demo-") as folder:
        data, log = Path(folder, "data"), Path(folder, "ashd.log")
        # An empty file, so that an ash.toml of the user's is not read.
        config = Path(folder, "ash.toml")
        config.touch()
        arguments = ["--config", str(config), "--data-dir", str(data), "--engine", engine]
        # It is to run everywhere, and says what this machine lacks.
        arguments += ["--isolation", "best-effort", "--limits", "best-effort"]
        try:
            with (
                _running([*arguments, "--port", "0"], _env(model_env), log) as url,
                AshClient(target=find_server(url, None, data, {})) as client,
                _session_logs_on_failure(client),
            ):
                yield client
        except AshError:
            for line in process.tail(log, _LOG_LINES):
                click.echo(line[:_LOG_WIDTH], err=True)
            raise


@contextmanager
def _session_logs_on_failure(client: AshClient) -> Iterator[None]:
    """If the demo fails, prints the logs of its sessions while the server still runs."""
    try:
        yield
    except AshError:
        with suppress(AshError):
            for session in client.list_sessions():
                for line in client.get_logs(session.id).logs:
                    click.echo(f"session: {line.text}"[:_LOG_WIDTH], err=True)
        raise


@contextmanager
def _running(arguments: list[str], env: Mapping[str, str], log: Path) -> Iterator[str]:
    server, url = process.spawn(arguments, env, log)
    try:
        yield url
    finally:
        if not process.end(server.pid, _END_TIMEOUT):
            server.kill()
        server.wait()


def _env(model_env: Mapping[str, str]) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ASH_", "ANTHROPIC_"))}
    return {**kept, **model_env}


def _agent_folder() -> Path:
    """The example agent: next to the package in a checkout, inside it when installed."""
    package = Path(ash.__file__).parent
    for root in (package.parent, package):
        if (folder := root / "examples" / AGENT).is_dir():
            return folder
    raise DemoFailed(f"there is no examples/{AGENT} beside {package}")
