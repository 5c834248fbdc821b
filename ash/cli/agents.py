"""The commands `ash deploy` and `ash agent …`."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from ash.cli.options import as_json, connected
from ash.cli.output import dim, one_line, print_fields, print_json, print_table
from ash.client import AshApiError, AshClient
from ash.client import agent_calls as calls
from ash.client.request import Request
from ash.errors import BadRequest
from ash.model import Agent

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,255}")
_LEFT_OUT = {".git", "node_modules", "__pycache__", ".venv"}
# The server accepts bodies of 50 MB, and base64 turns three bytes into four.
_MOST_BYTES = 50_000_000 * 3 // 4 - 100_000


@click.command()
@click.argument("folder", metavar="PATH", type=click.Path(path_type=Path))
@click.option("--name", help="The agent's name; the folder's if not given.")
@click.option("--upload", is_flag=True, help="Send the files, also to a server on this machine.")
@as_json
@connected
def deploy(
    client: AshClient, *, folder: Path, name: str | None, upload: bool, as_json: bool
) -> None:
    """Make an agent of the folder at PATH, which holds a CLAUDE.md.

    A server on this machine reads the folder itself; others get the files, without .git,
    node_modules, __pycache__ and .venv, and without links that lead out of the folder.
    """
    root = folder.resolve()
    if not (root / "CLAUDE.md").is_file():
        raise BadRequest(f"{folder} is not an agent: there is no CLAUDE.md in it")
    name = _name(root, name)
    if upload or not client.target.is_local:
        answer = client.ask_json(calls.deploy_agent(name, files=_files(root)))
    else:
        answer = _deploy_path(client, calls.deploy_agent(name, path=str(root)))
    agent, warnings = answer["agent"], answer.get("warnings", [])
    for warning in warnings:
        click.echo(one_line(f"warning: {warning}"), err=True)
    if as_json:
        print_json({**agent, "warnings": warnings} if warnings else agent)
    else:
        click.echo(f"deployed {agent['name']}, version {agent['version']}")


def _deploy_path(client: AshClient, request: Request[Agent]) -> dict[str, Any]:
    try:
        return client.ask_json(request)
    except AshApiError as error:
        if error.status == BadRequest.status:
            # A server behind a forwarded port may have another file system.
            raise BadRequest(f"{error.text} (--upload sends the files instead)") from None
        raise


def _name(root: Path, given: str | None) -> str:
    name = given or root.name
    if not _NAME.fullmatch(name):
        raise BadRequest(
            f"an agent's name has letters, digits, - and _, at most 255: {name!r} has others;"
            " choose one with --name"
        )
    return name


def _files(root: Path) -> dict[str, bytes]:
    contents: dict[str, bytes] = {}
    total = 0
    for file in _found(root):
        content = file.read_bytes()
        total += len(content)
        if total > _MOST_BYTES:
            raise BadRequest(f"{root} holds more than {_MOST_BYTES // 1_000_000} MB of files")
        contents[file.relative_to(root).as_posix()] = content
    return contents


def _found(root: Path) -> Iterator[Path]:
    """The regular files in the folder, in order; links to files inside it count as files."""
    for folder, folders, names in os.walk(root):
        here = Path(folder)
        folders[:] = sorted(set(folders) - _LEFT_OUT)
        linked = [name for name in folders if (here / name).is_symlink()]
        for name in sorted(names) + linked:
            file = here / name
            if file.is_file() and file.resolve().is_relative_to(root):
                yield file
            else:
                dim(f"left out {file.relative_to(root)}: not a file of this folder")


@click.group()
def agent() -> None:
    """Agents that were deployed."""


@agent.command("list")
@as_json
@connected
def list_agents(client: AshClient, *, as_json: bool) -> None:
    """All agents."""
    agents = client.ask_json(calls.list_agents())["agents"]
    if as_json:
        print_json(agents)
    else:
        fields = ("name", "version", "updatedAt", "path")
        rows = [[item.get(field) for field in fields] for item in agents]
        print_table(["NAME", "VERSION", "UPDATED", "PATH"], rows)


@agent.command("get")
@click.argument("name")
@as_json
@connected
def get_agent(client: AshClient, *, name: str, as_json: bool) -> None:
    """One agent."""
    found = client.ask_json(calls.get_agent(name))["agent"]
    (print_json if as_json else print_fields)(found)


@agent.command("delete")
@click.argument("name")
@connected
def delete_agent(client: AshClient, name: str) -> None:
    """Delete an agent."""
    client.delete_agent(name)
    click.echo(f"deleted {name}")
