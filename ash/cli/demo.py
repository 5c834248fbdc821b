"""`ash demo`: the main job, end to end, without an API key."""

import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click
from msgspec import Struct

import ash
from ash.cli import process, target
from ash.cli.api import Client, path
from ash.cli.output import print_table
from ash.cli.sse import Frame
from ash.cli.turn import TextPrinter
from ash.errors import AshError, ConfigError

if TYPE_CHECKING:
    from ash.testing import Request, Say

_AGENT = "hello-agent"
# The answers can't be had from the questions: the shell has to count, and the last turn has to
# know the first.
_WORD = "heron"
_HELLO = f"Say hello. The word of the day is {_WORD}."
_COMMAND = "echo $((6 * 7)) | tee answer.txt"
_PRINTED = "42"
# What the daemon promises for its own end (10 s of grace and 5 s), and some.
_END_TIMEOUT = 20.0
_LOG_LINES = 15


class Took(Struct):
    """A row of the table; in seconds from the start of the step."""

    step: str
    done: float
    first_event: float | None = None
    first_word: float | None = None


class Answer(Struct):
    """What was seen of a turn."""

    took: Took
    deltas: list[str]
    tool_calls: int
    tool_results: list[str]

    @property
    def text(self) -> str:
        return "".join(self.deltas)


class Questions(Struct, frozen=True):
    """The three prompts: natural ones for a model, the stub's own words for the stub."""

    hello: str
    tool: str
    recall: str


_FOR_STUB = Questions(_HELLO, f"BASH: {_COMMAND}", "RECALL")
_FOR_MODEL = Questions(
    f"{_HELLO} Two short sentences, please.",
    f"Use the Bash tool to run exactly this: {_COMMAND}",
    "What was the word of the day in my first message? Answer with that word alone.",
)


class DemoFailed(AshError):
    """A step did not do what it should; the text says which."""


@click.command()
@click.option("--real-model", is_flag=True, help="Ask the real model; needs ANTHROPIC_API_KEY.")
@click.option(
    "--engine",
    type=click.Choice(["claude-agent", "claude-code", "scripted"]),
    default="claude-agent",
    show_default=True,
)
def demo(*, real_model: bool, engine: str) -> None:
    """Show the main job end to end, without an API key.

    Starts a server on a free port with a temporary data directory, deploys hello-agent,
    streams an answer, runs a tool, asks what was said before, and cleans up. Exits with 0 only
    if all of it worked.
    """
    if real_model and engine == "scripted":
        raise ConfigError("--real-model needs an engine that speaks to a model, not scripted")
    if real_model and not os.environ.get("ANTHROPIC_API_KEY"):
        raise ConfigError("--real-model needs ANTHROPIC_API_KEY in the environment")
    # As Ctrl-C does: whoever ends us gets the server ended and the folder removed as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    agent = _agent_folder()
    started = time.monotonic()
    with _model(real=real_model) as model_env, _server(engine, model_env) as client:
        rows = _run(client, agent, _FOR_MODEL if real_model else _FOR_STUB, started)
    click.echo()
    print_table(["STEP", "FIRST EVENT", "FIRST WORD", "DONE"], [_row(took) for took in rows])
    click.echo("\nAll of it worked.")


def _run(client: Client, agent: Path, questions: Questions, started: float) -> list[Took]:
    took = [Took("start the server", time.monotonic() - started)]
    with _step("deploy the agent", took):
        client.post(path("agents"), {"name": _AGENT, "path": str(agent)})
    with _step("create a session", took):
        session = client.post(path("sessions"), {"agent": _AGENT})["session"]["id"]
    hello = _ask(client, session, "first turn", questions.hello)
    _check(len(hello.deltas) > 1, "first turn: the answer did not come in pieces")
    tool = _ask(client, session, "turn with a tool", questions.tool)
    _check(tool.tool_calls > 0, "turn with a tool: no tool was called")
    came_back = any(_PRINTED in result for result in tool.tool_results)
    _check(came_back, "turn with a tool: its output did not come back")
    recall = _ask(client, session, "turn that remembers", questions.recall)
    _check(_WORD in recall.text.lower(), "turn that remembers: it does not know the first turn")
    took += [hello.took, tool.took, recall.took]
    with _step("end the session", took):
        client.delete(path("sessions", session))
    return took


@contextmanager
def _step(name: str, took: list[Took]) -> Iterator[None]:
    start = time.monotonic()
    try:
        yield
    except AshError as error:
        raise DemoFailed(f"{name}: {error.text}") from None
    took.append(Took(name, time.monotonic() - start))


def _ask(client: Client, session: str, name: str, question: str) -> Answer:
    click.secho(f"\n> {question}", bold=True)
    answer = Answer(Took(name, 0.0), [], 0, [])
    start = time.monotonic()
    with _step(name, []):
        body = {"content": question, "includePartialMessages": True}
        with client.send(session, body) as frames:
            well = TextPrinter().print(_watched(frames, answer, start))
        _check(well, "it did not end well")
    answer.took.done = time.monotonic() - start
    return answer


def _watched(frames: Iterator[Frame], answer: Answer, start: float) -> Iterator[Frame]:
    took = answer.took
    for frame in frames:
        now = time.monotonic() - start
        took.first_event = took.first_event or now
        match frame.event:
            case "text_delta":
                took.first_word = took.first_word or now
                answer.deltas.append(frame.json()["delta"])
            case "tool_use":
                answer.tool_calls += 1
            case "tool_result":
                answer.tool_results.append(str(frame.json()["content"]))
        yield frame


@contextmanager
def _model(*, real: bool) -> Iterator[Mapping[str, str]]:
    """The environment that leads the server to its model."""
    if real:
        yield {name: v for name, v in os.environ.items() if name.startswith("ANTHROPIC_")}
        return
    from ash.testing import StubModel  # needed here alone

    with StubModel.in_thread(answer=_greeting) as model:
        yield {"ANTHROPIC_BASE_URL": model.url, "ANTHROPIC_API_KEY": "no-key-is-needed"}


def _greeting(request: "Request") -> "Say | None":
    """Words instead of an echo for the first question; the rest is up to the script."""
    from ash.testing import Say

    if request.tool_result or request.text != _HELLO:
        return None
    words = f"Hello! I am {_AGENT}, and today's word is {_WORD}. Each word came as it was said."
    return Say(tuple(f"{word} " for word in words.split()), pause=0.03)


@contextmanager
def _server(engine: str, model_env: Mapping[str, str]) -> Iterator[Client]:
    """A server of our own; ended, with all it wrote removed, when the context is left."""
    with TemporaryDirectory(prefix="ash-demo-") as folder:
        data, log = Path(folder, "data"), Path(folder, "ashd.log")
        # An empty one: what the user has set for a server of theirs is not for this one.
        config = Path(folder, "ash.toml")
        config.touch()
        arguments = ["--config", str(config), "--data-dir", str(data), "--engine", engine]
        try:
            with _running([*arguments, "--port", "0"], _env(model_env), log) as url:
                yield Client(target.find(url, None, data, {}))
        except AshError:
            for line in process.tail(log, _LOG_LINES):
                click.echo(line, err=True)
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
    """In a checkout beside the package; in an installed one below it."""
    package = Path(ash.__file__).parent
    for root in (package.parent, package):
        if (folder := root / "examples" / _AGENT).is_dir():
            return folder
    raise DemoFailed(f"there is no examples/{_AGENT} beside {package}")


def _check(worked: bool, failure: str) -> None:  # noqa: FBT001 - reads like an assertion
    if not worked:
        raise DemoFailed(failure)


def _row(took: Took) -> list[str]:
    times = (took.first_event, took.first_word, took.done)
    return [took.step, *("" if t is None else f"{t * 1000:.0f} ms" for t in times)]
