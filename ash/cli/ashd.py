"""The `ashd` command: reads settings, sets up logging, and runs the daemon until it ends."""

import gc
import os
from pathlib import Path
from typing import Any

import click
import trio

from ash import __version__, config, log
from ash.cli.options import settings_options
from ash.cli.output import OneLineCommand
from ash.config_sources import load_to_start
from ash.errors import AshError


@click.command("ashd", cls=OneLineCommand)
@settings_options
@click.version_option(__version__, prog_name="ash")
def main(config_file: Path | None, **flags: Any) -> None:
    """The ash daemon. Settings: ash.toml < environment < flags (docs/configuration.md)."""
    serve(config_file, flags)


def serve(config_file: Path | None, flags: dict[str, Any]) -> None:
    """Runs the daemon until it is told to end. Raises AshError if it can't start.

    Any other exception is a bug: it is logged with its traceback, and AshError is raised.
    """
    from ash import daemon  # imports nearly everything, which --help need not wait for

    settings = load_to_start(config_file, os.environ, flags)
    log.configure(settings.log_level, settings.log_format)
    for warning in config.unknown_environment(os.environ):
        log.get_logger().warning("config.ignored", text=warning)
    try:
        _freeze()
        trio.run(daemon.run, settings)
    except BaseException as error:
        if refusal := _refusal(error):
            raise refusal from None
        if not isinstance(error, Exception):
            raise
        log.get_logger().critical("daemon.crashed", exc_info=error)
        raise AshError("the daemon has crashed; the log says how") from None


def _freeze() -> None:
    """Takes what was imported out of the collection of garbage, which would hold the loop 50 ms."""
    gc.collect()
    gc.freeze()


def _refusal(error: BaseException) -> AshError | None:
    """The AshError that kept the daemon from starting, taken out of exception groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error if isinstance(error, AshError) else None


if __name__ == "__main__":
    main(prog_name="ashd")
