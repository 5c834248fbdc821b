"""Checks `.mcp.json`: which of its servers the CLI would skip, or could not start or reach."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ash.expansion import expand, missing
from ash.folder_check.commands import CommandChecker
from ash.folder_check.finding import FileReport, Report
from ash.folder_check.folder import Folder
from ash.folder_check.json_file import read_object
from ash.folder_check.json_tree import Node
from ash.folder_check.surroundings import Surroundings
from ash.model import Finding

FILE = ".mcp.json"

LOST = "the CLI would start none of its servers"
_REMOTE = frozenset(("http", "sse", "streamable-http", "ws"))


def check_mcp(folder: Folder, around: Surroundings, report: Report) -> None:
    found = read_object(folder, FILE, report, lost=LOST)
    if found is None:
        return
    node, about = found
    servers = node.get("mcpServers")
    if servers is None or servers.kind != "object":
        about.error((servers or node).at, f'"mcpServers" must be an object; {LOST}')
        return
    checker = _Servers(folder, around, about)
    for name, server in servers.members.items():
        checker.check(name, server)


def read_servers(root: Path) -> dict[str, Any]:
    """The servers that the CLI would use, as plain values. Blocks."""
    found = read_object(Folder(root), FILE, Report(), lost=LOST)
    servers = found[0].get("mcpServers") if found else None
    plain = servers.plain() if servers else None
    if not isinstance(plain, dict):
        return {}
    return {name: server for name, server in plain.items() if _usable(server)}


def _usable(server: Any) -> bool:
    return isinstance(server, dict) and (
        isinstance(server.get("command"), str)
        or (server.get("type") in _REMOTE and isinstance(server.get("url"), str))
    )


def report_servers(root: Path, failed: Mapping[str, str]) -> list[Finding]:
    """A warning for each server that failed when it was tried, at its place. Blocks."""
    report = Report()
    found = read_object(Folder(root), FILE, Report(), lost=LOST)
    servers = found[0].get("mcpServers") if found else None
    if found is None or servers is None:
        return []
    about = found[1].to(report)
    for name, why in failed.items():
        if name in servers.keys:
            about.warning(servers.keys[name], f'the MCP server "{name}" was tried: {why}')
    return report.findings


class _Servers:
    def __init__(self, folder: Folder, around: Surroundings, about: FileReport) -> None:
        self._about = about
        self._around = around
        self._commands = CommandChecker(folder, around)

    def check(self, name: str, server: Node) -> None:
        kind = server.get("type")
        if server.kind != "object":
            self._skipped(name, server, "it must be an object")
        elif kind is not None and kind.value not in {"stdio", *_REMOTE}:
            self._skipped(
                name, kind, f'"type" must be one of {", ".join(["stdio", *sorted(_REMOTE)])}'
            )
        elif kind is not None and kind.value in _REMOTE:
            self._check_remote(name, server)
        elif server.get("command") is None and server.get("url") is not None:
            self._skipped(name, server, 'with "url" it needs "type", "http" or "sse"')
        else:
            self._check_local(name, server)

    def _check_remote(self, name: str, server: Node) -> None:
        url = server.get("url")
        if url is None or not isinstance(url.value, str):
            self._skipped(name, url or server, '"url" must be a text')
            return
        self._check_variables(name, [url])
        if why := self._around.unreachable(expand(url.value, self._around.env)):
            self._about.warning(url.at, f'the MCP server "{name}" can\'t be reached: {why}')

    def _check_local(self, name: str, server: Node) -> None:
        command, args = server.get("command"), server.get("args")
        if command is None or command.kind != "string" or not command.value:
            self._skipped(name, command or server, '"command" must be a text')
            return
        given = args.items if args else []
        if args is not None and (
            args.kind != "array" or any(arg.kind != "string" for arg in given)
        ):
            self._skipped(name, args, '"args" must be a list of strings')
            return
        self._check_variables(name, [command, *given])
        words = [expand(node.value, self._around.env) for node in (command, *given)]
        if self._around.tried:
            return
        if fault := self._commands.program(words[0], words[1:]):
            self._about.warning(command.at, f'the MCP server "{name}" can\'t start: {fault.text}')

    def _check_variables(self, name: str, nodes: list[Node]) -> None:
        for node in nodes:
            if names := missing(node.value, self._around.env):
                what = ", ".join(names)
                self._about.warning(
                    node.at, f'the MCP server "{name}" needs {what}, which the agent\'s env lacks'
                )

    def _skipped(self, name: str, node: Node, text: str) -> None:
        self._about.error(node.at, f'the CLI skips the MCP server "{name}": {text}')
