"""The commands `ash deploy` and `ash agent …`."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec

from ash.agent_files.env_file import ENV_FILE
from ash.agent_files.ignore import IGNORE_FILE
from ash.agent_files.survey import survey
from ash.cli.folder_check import print_check
from ash.cli.options import as_json, connected
from ash.cli.output import print_fields, print_json, print_table, warn
from ash.client import AshApiError, AshClient, FileToSend
from ash.client import agent_calls as calls
from ash.errors import BadRequest
from ash.file_names import spelled
from ash.folder_check import PROMPT_FILE
from ash.workspaces.safe_open import open_folder

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,255}")
# The server accepts bodies of 50 MB, and base64 turns three bytes into four.
_MOST_BYTES = 50_000_000 * 3 // 4 - 100_000


@click.command()
@click.argument("folder", metavar="PATH", type=click.Path(path_type=Path))
@click.option("--name", help="The agent's name; the folder's if not given.")
@click.option("--agent-config", help="The agent's config, as JSON; as it was if not given.")
@click.option("--upload", is_flag=True, help="Send the files, also to a server on this machine.")
@click.option("--check", is_flag=True, help="Only say what is wrong with the folder.")
@click.option("--strict", is_flag=True, help="Count warnings as errors.")
@click.option("--force", is_flag=True, help="Deploy a folder that has errors.")
@as_json
@connected
def deploy(
    client: AshClient,
    *,
    folder: Path,
    name: str | None,
    agent_config: str | None,
    upload: bool,
    check: bool,
    strict: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Make an agent of the folder at PATH, which holds a CLAUDE.md.

    A server on this machine reads the folder itself; others get the files. What .ashignore
    names stays behind either way, and so do .git, .venv, node_modules, __pycache__ and .env*
    unless it says otherwise. A .env at the top becomes the agent's environment.
    A folder with errors is not deployed, such as settings that are not JSON.
    """
    root = folder.resolve()
    if not (root / PROMPT_FILE).is_file():
        raise BadRequest(f"{folder} is not an agent: there is no {PROMPT_FILE} in it")
    name = _name(root, name)
    by_path = client.target.is_local and not upload
    what: dict[str, Any] = {"path": spelled(str(root))}
    said: list[str] = []
    if not by_path:
        files, said = upload_of(root)
        what = {"files": files}
    what |= {"config": _config(agent_config), "strict": strict or None}
    with _hint_at_upload(by_path=by_path):
        if check:
            found = client.ask(calls.check_agent(name, **what)).with_warnings(said, strict=strict)
            print_check(found, as_json=as_json)
            raise SystemExit(not found.ok)
        if strict and said and not force:
            raise BadRequest(f"{said[0]}. Nothing was deployed: --strict allows no warning.")
        answer = client.ask_json(calls.deploy_agent(name, force=force or None, **what))
    _print_deployed(answer, said, as_json=as_json)


def _print_deployed(answer: dict[str, Any], said: list[str], *, as_json: bool) -> None:
    """`said` are warnings about what stayed behind here; the server may have some of them too."""
    agent = answer["agent"]
    warnings = list(dict.fromkeys([*said, *answer.get("warnings", [])]))
    for warning in warnings:
        warn(warning)
    if as_json:
        print_json({**agent, "warnings": warnings} if warnings else agent)
    else:
        click.echo(f"deployed {agent['name']}, version {agent['version']}")


def _config(text: str | None) -> dict[str, Any] | None:
    """The value of --agent-config. Raises BadRequest."""
    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError:
        raise BadRequest(
            """--agent-config must be a JSON object, such as '{"network": "none"}'"""
        ) from None


@contextmanager
def _hint_at_upload(*, by_path: bool) -> Iterator[None]:
    """A server behind a forwarded port may have another file system."""
    try:
        yield
    except AshApiError as error:
        if by_path and error.status == BadRequest.status and error.text.startswith("path: "):
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


def upload_of(root: Path) -> tuple[dict[str, FileToSend], list[str]]:
    """What of the folder travels, with the spelled paths, and what there is to say about it."""
    folder = open_folder(root)
    try:
        found = survey(root, folder)
    finally:
        os.close(folder)
    files: dict[str, FileToSend] = {}
    if found.env is not None:
        files[ENV_FILE] = FileToSend(found.env)
    filled = {entry.path.rpartition("/")[0] for entry in found.entries}
    total = 0
    for entry in found.entries:
        path = spelled(entry.path)
        if entry.kind == "link":
            files[path] = FileToSend(link=spelled(entry.target))
        elif entry.kind == "folder":
            if entry.path not in filled:
                files[f"{path}/"] = FileToSend()
        else:
            files[path] = file = _file(root / entry.path)
            total += len(file.data)
        if total > _MOST_BYTES:
            raise BadRequest(
                f"{root} holds more than {_MOST_BYTES // 1_000_000} MB of files: name in"
                f" {IGNORE_FILE} what the agent does not need"
            )
    return files, found.warnings


def _file(path: Path) -> FileToSend:
    content = path.read_bytes()
    # Its owner could read it just now, perhaps as root.
    mode = path.stat().st_mode & 0o777 | 0o400
    return FileToSend(content, mode=f"{mode:o}")


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
