"""The `ashd` command: settings, logging, then the daemon's tree until it ends."""

import os
import sys
from pathlib import Path
from typing import Any

import click
import structlog
import trio

from ash import __version__, config, log
from ash.cli.errors import Command
from ash.cli.options import settings_options
from ash.errors import AshError


@click.command("ashd", cls=Command)
@settings_options
@click.version_option(__version__, prog_name="ash")
def main(config_file: Path | None, **flags: Any) -> None:
    """The ash daemon. Settings: ash.toml < environment < flags (docs/configuration.md)."""
    serve(config_file, flags)


def serve(config_file: Path | None, flags: dict[str, Any]) -> None:
    """Runs the daemon until it is told to end. Raises AshError if it can't start."""
    from ash import daemon  # imports all there is: --help need not wait for it

    file = config.find_toml(config_file, os.environ, Path())
    settings = config.load(file, os.environ, flags)
    log.configure(settings.log_level, settings.log_format)
    for warning in config.unknown_environment(os.environ):
        structlog.get_logger().warning("config.unknown", text=warning)
    refusal: AshError | None = None
    try:
        trio.run(daemon.run, settings)
    except* AshError as group:
        refusal = _first(group)
    if refusal:
        raise refusal


def _first(group: BaseExceptionGroup[AshError]) -> AshError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, AshError)
    return error


if __name__ == "__main__":
    main(sys.argv[1:], "ashd")
