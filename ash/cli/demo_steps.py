"""The steps of the demo: what it does, what it checks, and how long each step takes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from msgspec import Struct

from ash.cli.output import print_table
from ash.cli.turn import TextPrinter
from ash.client import AshClient, Event, agent_calls, session_calls
from ash.errors import AshError

AGENT = "hello-agent"
# The questions don't contain their answers: the shell has to calculate, and the last turn has to
# remember the first.
WORD = "heron"
HELLO = f"Say hello. The word of the day is {WORD}."
_COMMAND = "echo $((6 * 7)) | tee answer.txt"
_PRINTED = "42"


class Took(Struct):
    """A row of the table of times, in seconds from the start of the step."""

    step: str
    done: float
    first_event: float | None = None
    first_word: float | None = None


class DemoAnswer(Struct):
    """What the client has received in one turn."""

    took: Took
    deltas: list[str]
    tool_calls: int
    tool_results: list[str]

    @property
    def text(self) -> str:
        return "".join(self.deltas)


class Questions(Struct, frozen=True):
    """The three prompts: in natural language for a model, as commands for the stub."""

    hello: str
    tool: str
    recall: str


FOR_STUB = Questions(HELLO, f"BASH: {_COMMAND}", "RECALL")
FOR_MODEL = Questions(
    f"{HELLO} Two short sentences, please.",
    f"Use the Bash tool to run exactly this: {_COMMAND}",
    "What was the word of the day in my first message? Answer with that word alone.",
)


class DemoFailed(AshError):
    """A step did not do what it should; the text says which."""


def run(client: AshClient, agent: Path, questions: Questions, started: float) -> list[Took]:
    took = [Took("start the server", time.monotonic() - started)]
    with _step("deploy the agent", took):
        client.ask_json(agent_calls.deploy_agent(AGENT, path=str(agent)))
    with _step("create a session", took):
        session = client.ask_json(session_calls.create_session(AGENT))["session"]["id"]
    hello = _ask(client, session, "first turn", questions.hello)
    _check(len(hello.deltas) > 1, "first turn: the answer did not come in pieces")
    tool = _ask(client, session, "turn with a tool", questions.tool)
    _check(tool.tool_calls > 0, "turn with a tool: no tool was called")
    came_back = any(_PRINTED in result for result in tool.tool_results)
    _check(came_back, "turn with a tool: its output did not come back")
    recall = _ask(client, session, "turn that remembers", questions.recall)
    _check(WORD in recall.text.lower(), "turn that remembers: it does not know the first turn")
    took += [hello.took, tool.took, recall.took]
    with _step("end the session", took):
        client.ask_json(session_calls.end_session(session))
    return took


@contextmanager
def _step(name: str, took: list[Took]) -> Iterator[None]:
    start = time.monotonic()
    try:
        yield
    except AshError as error:
        raise DemoFailed(f"{name}: {error.text}") from None
    took.append(Took(name, time.monotonic() - start))


def _ask(client: AshClient, session: str, name: str, question: str) -> DemoAnswer:
    click.secho(f"\n> {question}", bold=True)
    answer = DemoAnswer(Took(name, 0.0), [], 0, [])
    start = time.monotonic()
    with _step(name, []):
        with client.send_message(session, question, include_partial_messages=True) as frames:
            well = TextPrinter().print(_watched(frames, answer, start))
        _check(well, "it did not end well")
    answer.took.done = time.monotonic() - start
    return answer


def _watched(frames: Iterator[Event], answer: DemoAnswer, start: float) -> Iterator[Event]:
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


def _check(worked: bool, failure: str) -> None:  # noqa: FBT001 - reads like an assertion
    if not worked:
        raise DemoFailed(failure)


def print_times(rows: list[Took]) -> None:
    print_table(["STEP", "FIRST EVENT", "FIRST WORD", "DONE"], [_row(took) for took in rows])


def _row(took: Took) -> list[str]:
    times = (took.first_event, took.first_word, took.done)
    return [took.step, *("" if t is None else f"{t * 1000:.0f} ms" for t in times)]
