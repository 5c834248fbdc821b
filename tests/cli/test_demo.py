"""`ash demo` reports success only if every step worked."""

import json
import os
import sys
import time
from pathlib import Path

import pytest

from ash.cli import demo, demo_steps, process
from ash.client import AshClient
from ash.client.address import ServerAddress
from ash.testing import Say

DONE = ("done", {"reason": "completed"})


def deltas(*texts):
    return [("text_delta", {"delta": text}) for text in texts]


GOOD = {
    demo_steps.FOR_STUB.hello: [*deltas("Hello ", "you"), DONE],
    demo_steps.FOR_STUB.tool: [
        ("tool_use", {"id": "t", "name": "Bash", "input": {}}),
        ("tool_result", {"tool_use_id": "t", "content": "42\n"}),
        DONE,
    ],
    demo_steps.FOR_STUB.recall: [*deltas(json.dumps([demo_steps.HELLO])), DONE],
}


@pytest.fixture
def steps(server):
    """Runs the demo's steps against a server that answers from the table."""

    server.sends("POST", "/api/agents", {"agent": {}}, 201)
    server.sends("POST", "/api/sessions", {"session": {"id": "s1"}}, 201)
    server.sends("DELETE", "/api/sessions/s1", {"session": {}})

    def run(answers):
        server.sends(
            "POST",
            "/api/sessions/s1/messages",
            lambda body: [server.sse(*frame) for frame in answers[body["content"]]],
        )
        with AshClient(target=ServerAddress(server.url, None, "")) as client:
            return demo_steps.run(client, Path("/agent"), demo_steps.FOR_STUB, time.monotonic())

    return run


def test_demo_steps(steps, server):
    """The demo deploys, creates, asks three times and ends, and times each step."""
    took = steps(GOOD)

    assert [row.step for row in took] == [
        "start the server",
        "deploy the agent",
        "create a session",
        "first turn",
        "turn with a tool",
        "turn that remembers",
        "end the session",
    ]
    assert server.asked[0][2] == {"name": "hello-agent", "path": "/agent"}
    first = took[3]
    assert 0 < first.first_event <= first.first_word <= first.done


@pytest.mark.parametrize(
    ("question", "frames", "failure"),
    [
        ("hello", [*deltas("Hello you"), DONE], "first turn: the answer did not come in pieces"),
        ("hello", [("error", {"error": "x"}), DONE], "first turn: it did not end well"),
        ("tool", [*deltas("42"), DONE], "turn with a tool: no tool was called"),
        (
            "tool",
            [
                ("tool_use", {"name": "Bash", "input": {}}),
                ("tool_result", {"content": "sh: not found"}),
                DONE,
            ],
            "turn with a tool: its output did not come back",
        ),
        (
            "recall",
            [*deltas("I don't ", "know"), DONE],
            "turn that remembers: it does not know the first turn",
        ),
    ],
)
def test_demo_step_that_fails(steps, question, frames, failure):
    """A step whose answer is wrong fails the demo and is named."""
    answers = {**GOOD, getattr(demo_steps.FOR_STUB, question): frames}

    with pytest.raises(demo_steps.DemoFailed) as caught:
        steps(answers)

    assert str(caught.value) == failure


def test_demo_step_that_the_server_refuses(steps, server):
    """An error of the server is shown with the name of the step."""
    server.sends("POST", "/api/sessions", {"error": "no sandbox", "statusCode": 503}, 503)

    with pytest.raises(demo_steps.DemoFailed, match="create a session: no sandbox"):
        steps(GOOD)


@pytest.mark.process
def test_demo_server_that_does_not_start(ash, clean, monkeypatch):
    """The end of the daemon's log and one line are printed, and no files are left."""
    script = "import os, sys; print('last words', flush=True); sys.exit('ashd: the CLI is missing')"
    monkeypatch.setattr(process, "command", lambda _: [sys.executable, "-c", script])
    monkeypatch.setenv("TMPDIR", str(clean))
    monkeypatch.setattr("tempfile.tempdir", None)

    result = ash("demo")

    assert result.exit_code == 1
    assert result.stderr.splitlines()[-2:] == [
        "ashd: the CLI is missing",
        "ash: the CLI is missing",
    ]
    assert "last words" in result.stderr
    assert list(clean.glob("ash-demo-*")) == []


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--real-model"], "ash: --real-model needs ANTHROPIC_API_KEY in the environment\n"),
        (
            ["--real-model", "--engine", "scripted"],
            "ash: --real-model needs an engine that speaks to a model, not scripted\n",
        ),
    ],
)
def test_demo_real_model_that_cannot_be(ash, monkeypatch, arguments, line):
    """The real model needs a key, and an engine that uses a model."""
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)

    result = ash("demo", *arguments)

    assert (1, line) == (result.exit_code, result.stderr)


def test_demo_environment(monkeypatch):
    """The demo's server gets the stub's settings instead of the user's."""
    monkeypatch.setenv("ASH_PORT", "1")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "https://elsewhere.example")
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "secret")

    env = demo._env({"ANTHROPIC_BASE_URL": "stub"})

    ours = {k: v for k, v in env.items() if k.startswith(("ASH_", "ANTHROPIC_"))}
    assert ours == {"ANTHROPIC_BASE_URL": "stub"}
    assert env["PATH"] == os.environ["PATH"]


def test_demo_greeting():
    """The stub answers the first question in words, and the others by its script."""

    class Asked:
        tool_result = None

        def __init__(self, text):
            self.text = text

    said = demo._greeting(Asked(demo_steps.HELLO))

    assert isinstance(said, Say)
    assert len(said.pieces) > 10
    assert demo._greeting(Asked("RECALL")) is None
