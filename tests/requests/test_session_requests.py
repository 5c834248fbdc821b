"""What a request about a session becomes, and in which words the rest is refused."""

import msgspec
import pytest

from ash.errors import BadRequest
from ash.requests.messages import Options, message_query, options
from ash.requests.sessions import (
    MAX_COMMAND,
    ConfigureSession,
    CreateSession,
    McpServer,
    RunCommand,
    fork_when_busy,
    new_config,
    new_session,
    shell_command,
)

ASKED = {
    "allowed_tools": ["Bash"],
    "disallowed_tools": ["Read"],
    "betas": ["x"],
    "subagents": {"s": {}},
    "initial_agent": "s",
}
NAMED = {
    "allowedTools": ["Bash"],
    "disallowedTools": ["Read"],
    "betas": ["x"],
    "subagents": {"s": {}},
    "initialAgent": "s",
}


def test_new_session_has_all_that_was_asked_for():
    """Each field, and the engine's settings by the names that the agent's config has."""
    servers = {"tools": McpServer(url="http://tools")}
    asked = new_session(
        CreateSession(
            agent="helper",
            model="m",
            system_prompt="be brief",
            mcp_servers=servers,
            permission_mode="default",
            extra_env={"A": "b"},
            **ASKED,
        )
    )
    assert ("helper", "m", "be brief", "default", {"A": "b"}) == (
        asked.agent,
        asked.model,
        asked.system_prompt,
        asked.permission_mode,
        asked.extra_env,
    )
    assert {"tools": {"url": "http://tools"}} == asked.mcp_servers
    assert NAMED == asked.config


def test_new_session_has_nothing_that_was_not_asked_for():
    """The agent's own settings hold for the rest."""
    asked = new_session(CreateSession(agent="helper", betas=[]))
    assert ({}, None, None) == (asked.config, asked.mcp_servers, asked.limits)


@pytest.mark.parametrize(
    "server", [McpServer(), McpServer(url="http://tools", command="tools"), McpServer(args=["-v"])]
)
def test_server_that_is_neither_here_nor_there_is_refused(server):
    """Or both: nobody can tell which one is meant."""
    with pytest.raises(BadRequest, match=r"mcpServers\.tools: give exactly one of url and command"):
        new_session(CreateSession(agent="helper", mcp_servers={"tools": server}))


def test_config_keeps_null_apart_from_nothing():
    """Null takes a setting back, and what is left out stays."""
    assert {"betas": None} == new_config(ConfigureSession(betas=None))
    assert {} == new_config(ConfigureSession(model="m"))
    assert NAMED == new_config(ConfigureSession(**ASKED))


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


def test_message_query_has_all_that_was_asked_for():
    """Each field of the body, under the bridge's names."""
    fields = {
        "content": "hi",
        "includePartialMessages": True,
        "model": "m",
        "maxTurns": 3,
        "maxBudgetUsd": 0.5,
        "effort": "low",
        "thinking": {"type": "enabled", "budgetTokens": 2000},
        "outputFormat": {"type": "json_schema", "schema": {}},
    }
    query = message_query("the-session", msgspec.json.encode(fields))
    assert ("the-session", b'"hi"') == (query.session_id, bytes(query.prompt))
    assert (True, "m", 3, 0.5, "low") == (
        query.include_partial_messages,
        query.model,
        query.max_turns,
        query.max_budget_usd,
        query.effort,
    )
    assert "enabled" == query.thinking["type"]
    assert {"type": "json_schema", "schema": {}} == query.output_format


def test_options_are_those_that_are_given():
    """And the usual ones for the rest; a word that is none of them is refused by its name."""
    assert Options("queue", "continue", "auto") == options({"whenBusy": "queue", "resume": "auto"})
    with pytest.raises(BadRequest, match="onDisconnect"):
        options({"onDisconnect": "later"})
