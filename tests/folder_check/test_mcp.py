import json

import pytest

from ash.folder_check import read_servers, report_servers

MCP = ".mcp.json"


def servers(**named):
    return {MCP: json.dumps({"mcpServers": named})}


def test_servers_that_can_start_are_not_mentioned(check):
    """A program, a script of the folder, a URL with its type."""
    files = servers(
        a={"command": "sh", "args": ["server.sh"]},
        b={"type": "http", "url": "https://${HOST}/mcp"},
        c={"command": "./server.sh"},
    )
    assert [] == check({**files, "server.sh": "#!/bin/sh\n"}, env={"HOST": "example.com"})


def test_broken_file_is_an_error_with_its_place(check):
    """The CLI would start no server at all."""
    said = check({MCP: '{"mcpServers": {"a": {"command": "sh"},}}'})
    assert [f"error {MCP}:1:39: trailing comma; the CLI would start none of its servers"] == said
    assert ["error"] == [line.split()[0] for line in check({MCP: '{"servers": {}}'})]


@pytest.mark.parametrize(
    ("server", "why"),
    [
        ({"type": "htp", "url": "https://x.org"}, '"type" must be one of stdio, http, sse, '),
        ({"url": "https://x.org"}, 'with "url" it needs "type", "http" or "sse"'),
        ({"type": "http"}, '"url" must be a text'),
        ({}, '"command" must be a text'),
        ({"command": "sh", "args": "x"}, '"args" must be a list of strings'),
        ([], "it must be an object"),
    ],
)
def test_server_that_the_cli_skips_is_an_error(check, server, why):
    """It would be missing without a word."""
    [said] = check(servers(crm=server))
    assert said.partition(": ")[2].startswith(f'the CLI skips the MCP server "crm": {why}')
    assert said.startswith(f"error {MCP}:1:")


def test_servers_that_are_tried_are_not_guessed_about(check):
    """What the trial says is certain."""
    assert [] == check(servers(a={"command": "nosuch"}), tried=True)


def test_servers_that_the_cli_would_use_are_read_and_reported_at_their_place(check, tmp_path):
    """For the trial: the others are errors already."""
    good = {"command": "sh", "args": ["x"]}
    check(servers(bad={"url": "https://x.org"}, good=good))
    assert {"good": good} == read_servers(tmp_path)
    [finding] = report_servers(tmp_path, {"good": "it ended", "other": "no such server"})
    assert 'warning .mcp.json:1:50: the MCP server "good" was tried: it ended' == (
        f"{finding.severity} {finding}"
    )


def test_server_that_cannot_start_or_be_reached_is_a_warning(check):
    """Its program is missing, the policy is closed, or a variable has no value."""
    files = servers(
        a={"command": "nosuch"},
        b={"type": "http", "url": "https://${HOST:-example.com}/"},
        c={"command": "sh", "args": ["${KEY}", "${OTHER:-x}"]},
    )
    said = check(files, unreachable=lambda url: f"{url} is closed")
    assert [
        'the MCP server "a" can\'t start: there is no program nosuch in a sandbox',
        'the MCP server "b" can\'t be reached: https://example.com/ is closed',
        'the MCP server "c" needs KEY, which the agent\'s env lacks',
    ] == [line.partition(": ")[2] for line in said]
    assert {"warning"} == {line.split()[0] for line in said}
