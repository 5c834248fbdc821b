"""The `ash` command."""

from pathlib import Path

import click

from ash import __version__
from ash.cli.agents import agent, deploy
from ash.cli.demo import run_demo
from ash.cli.options import server_options
from ash.cli.output import OneLineGroup
from ash.cli.server import health, start, status, stop
from ash.cli.sessions import session


@click.group("ash", cls=OneLineGroup)
@server_options
@click.version_option(__version__, prog_name="ash")
def main(server: str | None, api_key: str | None, data_dir: Path | None) -> None:
    """Turns a folder into a production API.

    `ash start` runs a server; `ash deploy PATH` makes an agent of a folder; `ash session
    create AGENT` and `ash session send ID TEXT` talk to it. `ash demo` shows all of it.
    """


for command in (start, stop, status, health, deploy, agent, session, run_demo):
    main.add_command(command)
