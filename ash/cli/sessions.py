"""`ash session …`."""

import sys
from itertools import chain
from typing import Any

import click

from ash.cli.api import Client, path
from ash.cli.files import files
from ash.cli.options import as_json, connected
from ash.cli.output import dim, print_fields, print_json, print_table, write
from ash.cli.turn import TextPrinter, print_frames
from ash.errors import BadRequest

# What a command may take on its way, beside its own time.
_SLACK = 30.0


@click.group()
def session() -> None:
    """Conversations with an agent."""


session.add_command(files)


@session.command()
@click.argument("agent")
@click.option("--model", help="Another model than the agent's.")
@click.option("--system-prompt", help="Instead of the agent's own.")
@click.option("--permission-mode", help="bypassPermissions, permissionsByAgent or default.")
@as_json
@connected
def create(client: Client, *, agent: str, as_json: bool, **options: str | None) -> None:
    """Start a session with AGENT and print its id."""
    made = client.post(path("sessions"), {"agent": agent, **_said(options)})["session"]
    if as_json:
        print_json(made)
    else:
        click.echo(made["id"])


@session.command()
@click.argument("session_id", metavar="ID")
@click.argument("text")
@click.option("--model", help="The model for this and later turns.")
@click.option("--max-turns", type=int, help="End after so many model calls.")
@click.option("--max-budget-usd", type=float, help="End when so much was spent.")
@click.option("--effort", help="low, medium, high or max.")
@click.option("--json", "as_json", is_flag=True, help="Print the frames, one JSON object a line.")
@connected
def send(client: Client, *, session_id: str, text: str, as_json: bool, **options: Any) -> None:
    """Send TEXT (- reads stdin) and print the answer as it comes.

    Tool calls are told on stderr. Ctrl-C ends the printing, not the turn. The exit code is 1
    if the turn did not end well.
    """
    content = sys.stdin.read() if text == "-" else text
    if not content.strip():
        raise BadRequest("there is no text to send")
    body = {"content": content, "includePartialMessages": True, **_said(options)}
    try:
        with client.send(session_id, body) as frames:
            well = print_frames(frames) if as_json else TextPrinter().print(frames)
    except KeyboardInterrupt:
        dim(f"left the stream; the turn goes on: ash session get {session_id}")
        raise
    if not well:
        sys.exit(1)


@session.command()
@click.argument("session_id", metavar="ID")
@click.option("--after", type=click.IntRange(min=0), help="Begin behind the frame with this id.")
@click.option("--json", "as_json", is_flag=True, help="Print the frames, one JSON object a line.")
@connected
def watch(client: Client, *, session_id: str, after: int | None, as_json: bool) -> None:
    """Print what the session's agent says and does, turn after turn, until the session ends.

    Begins with the turn that runs; with --after 0, with the session's first.
    """
    with client.watch(session_id, after) as frames:
        for first in frames:
            turn = chain([first], frames)
            _ = print_frames(turn) if as_json else TextPrinter().print(turn)


@session.command("exec")
@click.argument("session_id", metavar="ID")
@click.argument("command")
@click.option("--timeout", type=float, default=30.0, help="End it after so many seconds. [30]")
@connected
def execute(client: Client, session_id: str, command: str, timeout: float) -> None:
    """Run the shell COMMAND in the session's sandbox, also beside a turn.

    What it prints goes to stdout and stderr; its exit code is ours, 124 after the timeout.
    """
    body = {"command": command, "timeout": round(timeout * 1000)}
    result = client.post(path("sessions", session_id, "exec"), body, patience=timeout + _SLACK)
    write(result["stdout"])
    write(result["stderr"], err=True)
    if result.get("truncated"):
        dim("there was more output than is kept")
    if result.get("timedOut"):
        dim(f"ended after {timeout:g} seconds")
    sys.exit(result["exitCode"])


@session.command("list")
@click.option("--agent", help="Only sessions with this agent.")
@click.option("--status", help="Only starting, active, paused, stopped, ended or error.")
@click.option("--limit", type=int, help="At most so many.")
@click.option("--offset", type=int, help="Leave out so many first.")
@as_json
@connected
def list_sessions(client: Client, *, as_json: bool, **query: Any) -> None:
    """Sessions, newest first."""
    sessions = client.get(path("sessions"), **query)["sessions"]
    if as_json:
        print_json(sessions)
    else:
        fields = ("id", "agentName", "status", "createdAt", "lastActiveAt")
        rows = [[item.get(field) for field in fields] for item in sessions]
        print_table(["ID", "AGENT", "STATUS", "CREATED", "LAST ACTIVE"], rows)


@session.command("get")
@click.argument("session_id", metavar="ID")
@as_json
@connected
def get_session(client: Client, *, session_id: str, as_json: bool) -> None:
    """One session."""
    found = client.get(path("sessions", session_id))["session"]
    (print_json if as_json else print_fields)(found)


@session.command()
@click.argument("session_id", metavar="ID")
@connected
def pause(client: Client, session_id: str) -> None:
    """Pause a session; it keeps its sandbox while there is room."""
    _print_status(client.post(path("sessions", session_id, "pause"), {}))


@session.command()
@click.argument("session_id", metavar="ID")
@connected
def stop(client: Client, session_id: str) -> None:
    """Stop a session and free its sandbox; it can be resumed."""
    _print_status(client.post(path("sessions", session_id, "stop"), {}))


@session.command()
@click.argument("session_id", metavar="ID")
@connected
def resume(client: Client, session_id: str) -> None:
    """Go on with a session that was paused or stopped, or that broke."""
    _print_status(client.post(path("sessions", session_id, "resume"), {}))


@session.command()
@click.argument("session_id", metavar="ID")
@connected
def interrupt(client: Client, session_id: str) -> None:
    """End the turn that runs and keep the session."""
    answer = client.post(path("sessions", session_id, "interrupt"), {})
    click.echo("interrupted" if answer["interrupted"] else "no turn was running")


@session.command()
@click.argument("session_id", metavar="ID")
@click.option("--model", help="The model from the next message on.")
@click.option("--allowed-tool", "allowed_tools", multiple=True, help="Repeat it for several.")
@click.option("--disallowed-tool", "disallowed_tools", multiple=True, help="Repeat it for several.")
@click.option("--reset", multiple=True, help="A setting to take back, by its name in the API.")
@as_json
@connected
def config(
    client: Client, *, session_id: str, as_json: bool, reset: tuple[str, ...], **options: Any
) -> None:
    """Change a session's settings; they hold from the next message on."""
    wanted: dict[str, Any] = {name: value for name, value in _said(options).items() if value != ()}
    wanted |= dict.fromkeys(reset)
    if not wanted:
        raise BadRequest("there is nothing to change")
    changed = client.patch(path("sessions", session_id, "config"), wanted)["session"]
    (print_json if as_json else print_fields)(changed)


@session.command()
@click.argument("session_id", metavar="ID")
@connected
def end(client: Client, session_id: str) -> None:
    """End a session for good."""
    _print_status(client.delete(path("sessions", session_id)))


def _print_status(answer: dict[str, Any]) -> None:
    found = answer["session"]
    click.echo(f"{found['id']} {found['status']}")


def _said(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, by their names in the API."""
    return {_camel(name): value for name, value in options.items() if value is not None}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
