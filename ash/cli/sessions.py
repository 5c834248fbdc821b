"""The commands `ash session …`."""

import sys
from itertools import chain
from typing import Any

import click

from ash.cli.files import files
from ash.cli.options import as_json, connected
from ash.cli.output import dim, one_line, print_fields, print_json, print_table, warn, write
from ash.cli.turn import TextPrinter, print_frames
from ash.client import AshClient, sandbox_calls
from ash.client import session_calls as calls
from ash.errors import BadRequest

# Settings that can be reset: the name in the API, and in Python.
_SETTINGS = {
    "model": "model",
    "allowedTools": "allowed_tools",
    "disallowedTools": "disallowed_tools",
    "betas": "betas",
    "subagents": "subagents",
    "initialAgent": "initial_agent",
}


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
def create(client: AshClient, *, agent: str, as_json: bool, **options: Any) -> None:
    """Start a session with AGENT and print its id."""
    _print_new(client.ask_json(calls.create_session(agent, **options)), as_json=as_json)


@session.command()
@click.argument("session_id", metavar="ID")
@click.argument("text")
@click.option("--model", help="The model for this turn.")
@click.option("--max-turns", type=int, help="End after so many model calls.")
@click.option("--max-budget-usd", type=float, help="End when so much was spent.")
@click.option("--effort", help="low, medium, high or max.")
@click.option(
    "--when-busy",
    type=click.Choice(["refuse", "queue", "interrupt"]),
    help="What to do about a turn that runs: give up, wait for its end, end it. [refuse]",
)
@click.option(
    "--resume/--no-resume",
    default=True,
    help="Whether to resume a session that is paused, stopped or in error.  [resume]",
)
@click.option(
    "--on-disconnect",
    type=click.Choice(["continue", "interrupt"]),
    help="What becomes of the turn if we leave. [continue]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the frames, one JSON object a line.")
@connected
def send(
    client: AshClient,
    *,
    session_id: str,
    text: str,
    resume: bool,
    on_disconnect: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Send TEXT (- reads stdin) and print the answer as it comes.

    Tool calls are shown on stderr. Ctrl-C ends the printing, not the turn, unless --on-disconnect
    says so. A connection that breaks is made anew, and nothing is printed twice. The exit code
    is 1 if the turn did not end well.
    """
    content = sys.stdin.read() if text == "-" else text
    if not content.strip():
        raise BadRequest("there is no text to send")
    options["resume"] = "auto" if resume else "no"
    if on_disconnect:
        options["on_disconnect"] = on_disconnect
    turn = client.send_message(session_id, content, include_partial_messages=True, **options)
    try:
        with turn as frames:
            well = print_frames(frames) if as_json else TextPrinter().print(frames)
    except KeyboardInterrupt:
        becomes = "is interrupted" if on_disconnect == "interrupt" else "goes on"
        dim(f"left the stream; the turn {becomes}: ash session watch {session_id}")
        raise
    if not well:
        sys.exit(1)


@session.command()
@click.argument("session_id", metavar="ID")
@click.option("--after", type=click.IntRange(min=0), help="Begin after the frame with this id.")
@click.option("--json", "as_json", is_flag=True, help="Print the frames, one JSON object a line.")
@connected
def watch(client: AshClient, *, session_id: str, after: int | None, as_json: bool) -> None:
    """Print what the session's agent says and does, turn after turn, until the session ends.

    Begins with the turn that runs; with --after 0, with the session's first. A connection that
    breaks is made anew, and nothing is printed twice.
    """
    with client.stream_session(session_id, after=after) as frames:
        for first in frames:
            turn = chain([first], frames)
            _ = print_frames(turn) if as_json else TextPrinter().print(turn)


@session.command("exec")
@click.argument("session_id", metavar="ID")
@click.argument("command")
@click.option("--timeout", type=float, default=30.0, help="End it after so many seconds. [30]")
@connected
def execute(client: AshClient, session_id: str, command: str, timeout: float) -> None:
    """Run the shell COMMAND in the session's sandbox, also during a turn.

    Its stdout, stderr and exit code become those of this command; after the timeout it is 124.
    """
    result = client.exec(session_id, command, timeout=round(timeout * 1000))
    write(result.stdout)
    write(result.stderr, err=True)
    if result.truncated:
        dim("there was more output than is kept")
    if result.timed_out:
        dim(f"ended after {timeout:g} seconds")
    sys.exit(result.exit_code)


@session.command("logs")
@click.argument("session_id", metavar="ID")
@as_json
@connected
def logs(client: AshClient, session_id: str, *, as_json: bool) -> None:
    """What was printed in the session's sandbox, and what ash has to say of it."""
    answer = client.ask_json(sandbox_calls.get_logs(session_id))
    if as_json:
        print_json(answer["logs"])
        return
    for line in answer["logs"]:
        click.echo(f"{line['ts']} {line['level']:<6} {one_line(line['text'])}")


@session.command("list")
@click.option("--agent", help="Only sessions with this agent.")
@click.option("--status", help="Only starting, active, paused, stopped, ended or error.")
@click.option("--limit", type=int, help="At most so many.")
@click.option("--offset", type=int, help="Leave out so many first.")
@as_json
@connected
def list_sessions(client: AshClient, *, as_json: bool, **query: Any) -> None:
    """Sessions, newest first."""
    sessions = client.ask_json(calls.list_sessions(**query))["sessions"]
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
def get_session(client: AshClient, *, session_id: str, as_json: bool) -> None:
    """One session."""
    found = client.ask_json(calls.get_session(session_id))["session"]
    (print_json if as_json else print_fields)(found)


@session.command()
@click.argument("session_id", metavar="ID")
@connected
def pause(client: AshClient, session_id: str) -> None:
    """Pause a session; it keeps its sandbox while there is room."""
    _print_status(client.ask_json(calls.pause_session(session_id)))


@session.command()
@click.argument("session_id", metavar="ID")
@connected
def stop(client: AshClient, session_id: str) -> None:
    """Stop a session and free its sandbox; it can be resumed."""
    _print_status(client.ask_json(calls.stop_session(session_id)))


@session.command()
@click.argument("session_id", metavar="ID")
@connected
def resume(client: AshClient, session_id: str) -> None:
    """Go on with a session that was paused or stopped, or that broke."""
    _print_status(client.ask_json(calls.resume_session(session_id)))


@session.command()
@click.argument("session_id", metavar="ID")
@click.option(
    "--after-sequence",
    type=click.IntRange(min=0),
    help="Branch off after the message with this sequence, not after the last turn.",
)
@click.option(
    "--when-busy",
    type=click.Choice(["queue", "interrupt"]),
    help="What to do about a turn that runs: wait for its end, or end it.",
)
@as_json
@connected
def fork(client: AshClient, *, session_id: str, as_json: bool, **options: Any) -> None:
    """Branch off a new session, paused, and print its id.

    It has the conversation up to there and the files as they are now.
    """
    _print_new(client.ask_json(calls.fork_session(session_id, **options)), as_json=as_json)


@session.command()
@click.argument("session_id", metavar="ID")
@connected
def interrupt(client: AshClient, session_id: str) -> None:
    """End the turn that runs and keep the session."""
    interrupted = client.interrupt_session(session_id)
    click.echo("interrupted" if interrupted else "no turn was running")


@session.command()
@click.argument("session_id", metavar="ID")
@click.option("--model", help="The model from the next message on.")
@click.option("--allowed-tool", "allowed_tools", multiple=True, help="Repeat it for several.")
@click.option("--disallowed-tool", "disallowed_tools", multiple=True, help="Repeat it for several.")
@click.option(
    "--reset",
    metavar="SETTING",
    multiple=True,
    type=click.Choice(list(_SETTINGS)),
    help="A setting to reset, by its name in the API.",
)
@as_json
@connected
def config(
    client: AshClient, *, session_id: str, as_json: bool, reset: tuple[str, ...], **options: Any
) -> None:
    """Change a session's settings; they hold from the next message on."""
    wanted = {name: value for name, value in options.items() if value not in {None, ()}}
    wanted |= dict.fromkeys(_SETTINGS[name] for name in reset)
    if not wanted:
        raise BadRequest("there is nothing to change")
    changed = client.ask_json(calls.configure_session(session_id, **wanted))["session"]
    (print_json if as_json else print_fields)(changed)


@session.command()
@click.argument("session_id", metavar="ID")
@connected
def end(client: AshClient, session_id: str) -> None:
    """End a session for good."""
    _print_status(client.ask_json(calls.end_session(session_id)))


def _print_new(answer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(answer["session"])
    else:
        click.echo(answer["session"]["id"])


def _print_status(answer: dict[str, Any]) -> None:
    found = answer["session"]
    click.echo(f"{found['id']} {found['status']}")
    for warning in found.get("warnings") or []:
        warn(warning)
