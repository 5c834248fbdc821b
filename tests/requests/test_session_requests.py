"""What a request about a session becomes, and in which words the rest is refused."""

import msgspec
import pytest

from ash.errors import BadRequest
from ash.requests.messages import Options, options
from ash.requests.parsing import decode
from ash.requests.sessions import (
    MAX_COMMAND,
    CreateSession,
    RunCommand,
    fork_when_busy,
    new_session,
    shell_command,
)


def created(server):
    body = {"agent": "helper", "mcpServers": {"tools": server}}
    return decode(msgspec.json.encode(body), msgspec.json.Decoder(CreateSession))


@pytest.mark.parametrize(
    "server", [{}, {"url": "http://tools", "command": "tools"}, {"args": ["-v"]}]
)
def test_server_that_is_neither_here_nor_there_is_refused(server):
    """Or both: nobody can tell which one is meant."""
    with pytest.raises(BadRequest, match=r"mcpServers\.tools: give exactly one of url and command"):
        new_session(created(server))


@pytest.mark.parametrize("server", [{"url": "http://tools"}, {"command": "tools"}])
def test_server_with_an_address_or_a_program_is_taken(server):
    """One of the two says all that is needed."""
    new, _ = new_session(created(server))
    assert {"tools": server} == new.options.mcp_servers


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("systemPrompt", "you\0", "systemPrompt: a NUL can't be part of a prompt"),
        ("extraEnv", {"A": "x\0B=1"}, r"extraEnv\[...\]: a NUL can't be part of this value"),
        ("extraEnv", {"A\0": "x"}, 'extraEnv: expected "str" matching regex'),
    ],
)
def test_text_that_no_engine_can_be_given_is_refused(field, value, words):
    """A NUL ends a variable, and without a word the agent would be Claude Code."""
    body = msgspec.json.encode({"agent": "helper", field: value})
    with pytest.raises(BadRequest, match=words):
        new_session(decode(body, msgspec.json.Decoder(CreateSession)))


@pytest.mark.parametrize("empty", ["", " \n"])
def test_empty_system_prompt_is_none(empty):
    """Forms of existing clients send their empty fields, too; a warning says what holds."""
    body = msgspec.json.encode({"agent": "helper", "systemPrompt": empty})
    new, warnings = new_session(decode(body, msgspec.json.Decoder(CreateSession)))
    assert (None, 1) == (new.options.system_prompt, len(warnings))


@pytest.mark.parametrize(
    ("given", "expected"), [(None, "refuse"), ("queue", "queue"), ("interrupt", "interrupt")]
)
def test_fork_does_about_a_turn_what_is_said(given, expected):
    """A fork of a busy session is refused if nothing is said."""
    assert expected == fork_when_busy({"whenBusy": given}.get)


def test_fork_has_no_other_word():
    """The words are named."""
    with pytest.raises(BadRequest, match='whenBusy: expected one of queue, interrupt, got "no"'):
        fork_when_busy({"whenBusy": "no"}.get)


@pytest.mark.parametrize("command", ["x" * MAX_COMMAND, "ü" * (MAX_COMMAND // 2)])
def test_command_of_the_longest_kind_is_taken(command):
    """As much as Linux takes as one argument, in bytes; its timeout goes along."""
    asked = shell_command(RunCommand(command=command, timeout=7))
    assert (command, 7) == (asked.command, asked.timeout)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("x" * (MAX_COMMAND + 1), "command: up to 131071 bytes are allowed, not 131072"),
        ("ü" * (MAX_COMMAND // 2 + 1), "command: up to 131071 bytes are allowed, not 131072"),
        ("true\0", "command: a NUL can't be part of a command"),
    ],
)
def test_command_that_no_shell_takes_is_refused(command, words):
    """With the bound."""
    with pytest.raises(BadRequest) as refused:
        shell_command(RunCommand(command=command))
    assert words == refused.value.text


def test_options_are_those_that_are_given():
    """And the usual ones for the rest; a word that is none of them is refused by its name."""
    assert Options("queue", "continue", "auto") == options({"whenBusy": "queue", "resume": "auto"})
    with pytest.raises(BadRequest, match="onDisconnect"):
        options({"onDisconnect": "later"})


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("when_busy", "whenBusy"),
        ("whenbusy", "whenBusy"),
        ("onDisconect", "onDisconnect"),
        ("resum", "resume"),
    ],
)
def test_mistyped_option_is_refused(typo, meant):
    """It would have no effect, and nobody would notice; a parameter of a proxy's has none."""
    with pytest.raises(BadRequest) as refused:
        options({"_": "1", typo: "interrupt"})
    assert f'unknown parameter "{typo}"; did you mean "{meant}"?' == refused.value.text
    assert Options() == options({"_": "1", "utm_source": "x"})
