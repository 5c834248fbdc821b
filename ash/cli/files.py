"""The commands `ash session files …`."""

import os
import sys
from pathlib import Path

import click

from ash.cli.options import as_json, connected
from ash.cli.output import one_line, print_json, print_table, write_bytes
from ash.client import AshClient, FileToSend
from ash.client import sandbox_calls as calls


@click.group()
def files() -> None:
    """Files of a session, also of one that has ended."""


@files.command("list")
@click.argument("session_id", metavar="ID")
@click.option("--hidden", is_flag=True, help="Also what begins with a dot.")
@as_json
@connected
def list_files(client: AshClient, *, session_id: str, hidden: bool, as_json: bool) -> None:
    """All files, without node_modules, .git and __pycache__."""
    answer = client.ask_json(calls.list_files(session_id, include_hidden=hidden or None))
    if as_json:
        print_json(answer)
        return
    rows = [[file["path"], file["size"], file["modifiedAt"]] for file in answer["files"]]
    print_table(["PATH", "SIZE", "MODIFIED"], rows)
    if answer.get("truncated"):
        click.echo("there are more files than are listed", err=True)


@files.command("get")
@click.argument("session_id", metavar="ID")
@click.argument("file", metavar="PATH")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write it there instead.")
@connected
def get_file(client: AshClient, session_id: str, file: str, output: Path | None) -> None:
    """Print the file at PATH, as it is."""
    content = client.read_file(session_id, file)
    if output is None:
        write_bytes(content)
    else:
        output.write_bytes(content)


@files.command("put")
@click.argument("session_id", metavar="ID")
@click.argument(
    "sources", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option("--to", "folder", default="", help="The folder they are for; it is made.")
@connected
def put_files(client: AshClient, session_id: str, sources: tuple[Path, ...], folder: str) -> None:
    """Copy each FILE of this machine into the session, under its own name."""
    contents = {source.name: _to_send(source) for source in sources}
    written = client.write_files(session_id, contents, folder)
    for file in written:
        if file.written:
            click.echo(one_line(f"wrote {file.path}, {file.size} bytes"))
        else:
            click.echo(f"error: {one_line(str(file.error))}", err=True)
    if not all(file.written for file in written):
        sys.exit(1)


def _to_send(source: Path) -> FileToSend:
    """The file; it is executable there if it is here, else the server decides."""
    return FileToSend(source.read_bytes(), executable=os.access(source, os.X_OK) or None)


@files.command("rm")
@click.argument("session_id", metavar="ID")
@click.argument("file", metavar="PATH")
@connected
def remove_file(client: AshClient, session_id: str, file: str) -> None:
    """Delete the file at PATH."""
    client.delete_file(session_id, file)
    click.echo(one_line(f"deleted {file}"))
