"""Options that several commands share, and the client made from them."""

import os
from collections.abc import Callable
from functools import update_wrapper
from pathlib import Path
from typing import Any, TypeVar

import click

from ash.cli.output import dim
from ash.client import AshClient
from ash.client.address import DEFAULT_SERVER, ServerAddress, find_server
from ash.config import OPTIONS
from ash.config_values import Option

AnyCommand = TypeVar("AnyCommand", bound=Callable[..., Any])

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def server_options(command: AnyCommand) -> AnyCommand:
    """Adds --server, --api-key and --data-dir; they also work before the command's name."""
    data_dir = click.option(
        "--data-dir",
        type=click.Path(path_type=Path),
        help="Where a local server keeps its data, for its key. [ASH_DATA_DIR, ./data]",
    )
    api_key = click.option(
        "--api-key", help="The key. [ASH_API_KEY, a local server's initial-api-key]"
    )
    server = click.option("--server", help=f"URL. [ASH_SERVER_URL, {DEFAULT_SERVER}]")
    return server(api_key(data_dir(command)))


def connected(function: Callable[..., None]) -> Callable[..., None]:
    """Gives the command an AshClient as its first argument, made from the server options."""

    def run(
        server: str | None, api_key: str | None, data_dir: Path | None, **arguments: Any
    ) -> None:
        target = chosen_target(server, api_key, data_dir)
        with AshClient(target=target, on_reconnect=dim) as client:
            function(client, **arguments)

    return server_options(update_wrapper(run, function))


def chosen_target(server: str | None, api_key: str | None, data_dir: Path | None) -> ServerAddress:
    """The server and key from the command's own options, or those before the command's name."""
    before = click.get_current_context().find_root().params
    return find_server(
        server or before.get("server"),
        api_key or before.get("api_key"),
        data_dir or before.get("data_dir"),
        os.environ,
        "--api-key",
    )


def settings_options(command: AnyCommand) -> AnyCommand:
    """Adds a flag for every setting; `config.load` checks their values."""
    for option in reversed(OPTIONS):
        text = f"{option.help} [{option.env}]"
        flag = click.option(option.flag, option.field, metavar=_metavar(option), help=text)
        command = flag(command)
    return click.option(
        "--config",
        "config_file",
        type=click.Path(path_type=Path),
        help="The ash.toml to read. [ASH_CONFIG, ./ash.toml]",
    )(command)


def _metavar(option: Option) -> str:
    if option.rule.startswith("one of "):
        return option.rule.removeprefix("one of ").replace(", ", "|")
    if option.rule == "true or false":
        return "true|false"
    kinds = {"a list": "LIST", "a whole": "NUMBER", "a number": "NUMBER", "a path": "PATH"}
    return next((word for start, word in kinds.items() if option.rule.startswith(start)), "TEXT")
