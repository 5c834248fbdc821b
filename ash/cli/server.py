"""The commands `ash start`, `stop`, `status` and `health`."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ash.cli import process
from ash.cli.options import as_json, chosen_target, connected, server_options, settings_options
from ash.cli.output import missing_protection, print_fields, print_json, warn_of_missing_protection
from ash.client import AshApiError, AshClient
from ash.client.address import DEFAULT_SERVER, KEY_FILE, data_folder, find_server
from ash.config import OPTIONS, Settings, find_toml, load
from ash.config_sources import load_to_start, model_warnings
from ash.errors import StartError

# How much longer than the grace of turns we wait; the daemon needs at most 5 s more.
_STOP_MARGIN = 10.0


@click.command()
@settings_options
@click.option("--detach", is_flag=True, help="Run in the background, with a pid file and a log.")
def start(config_file: Path | None, *, detach: bool, **flags: str | None) -> None:
    """Run the server: `ashd`, here or in the background."""
    before = click.get_current_context().find_root().params
    flags = {**flags, "data_dir": flags["data_dir"] or _text(before.get("data_dir"))}
    if detach:
        _start_detached(config_file, flags)
    else:
        from ash.cli import ashd  # imported late, so that `python -m ash.cli.ashd` does not warn

        ashd.serve(config_file, flags)


@click.command()
@click.option("--data-dir", type=click.Path(path_type=Path), help="The server's data directory.")
@click.option("--timeout", type=float, help="How many seconds to wait; its grace and 10 more.")
def stop(data_dir: Path | None, timeout: float | None) -> None:
    """Stop the server that `ash start --detach` started."""
    settings = _local_settings(os.environ, {"data_dir": _data_dir(data_dir)})
    files = process.DaemonFiles(settings.data_dir)
    pid = files.running()
    if pid is None:
        stale = "; removed a stale pid file" if files.pid.exists() else ""
        files.remove()
        click.echo(f"ashd is not running from {settings.data_dir}{stale}")
        return
    patience = settings.grace_seconds + _STOP_MARGIN if timeout is None else timeout
    if not process.end(pid, patience):
        raise StartError(f"ashd (pid {pid}) has not ended within {patience:g} s; it was told to")
    files.remove()
    click.echo(f"ashd (pid {pid}) has stopped")


@click.command()
@server_options
@as_json
def status(
    server: str | None, api_key: str | None, data_dir: Path | None, *, as_json: bool
) -> None:
    """Whether the server runs, and how it does. The exit code is 1 if it does not."""
    files = process.DaemonFiles(data_folder(_data_dir(data_dir), os.environ))
    pid = files.running()
    target = chosen_target(server or _detached_url(files, pid), api_key, data_dir)
    with AshClient(target=target) as client:
        report = {"url": target.url, "pid": pid, **_health(client)}
    if as_json:
        print_json(report)
    elif report["running"]:
        print_fields({name: value for name, value in report.items() if name != "running"})
    else:
        click.echo(f"not running: {report['error']}")
    if not report["running"]:
        sys.exit(1)


@click.command()
@connected
def health(client: AshClient) -> None:
    """Print what the server says of its health."""
    print_json(client.health())


def _local_settings(env: Mapping[str, str], flags: Mapping[str, object]) -> Settings:
    """The settings of a daemon that was started in this folder."""
    return load(find_toml(None, env, Path()), env, flags)


def _start_detached(config_file: Path | None, flags: dict[str, str | None]) -> None:
    settings = load_to_start(config_file, os.environ, flags)
    files = process.DaemonFiles(settings.data_dir)
    if pid := files.running():
        raise StartError(f"ashd is already running from {settings.data_dir} (pid {pid})")
    arguments = ["--config", str(config_file)] if config_file else []
    env = dict(os.environ)
    for option in OPTIONS:
        value = flags[option.field]
        if value is not None and option.secret:
            env[option.env] = value  # every user of the machine can see flags
        elif value is not None:
            arguments += [option.flag, value]
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        started, url = process.spawn(arguments, env, files.log)
        files.pid.write_text(f"{started.pid}\n")
        files.url.write_text(f"{url}\n")
    except OSError as error:
        raise StartError(f"cannot write to {settings.data_dir}: {error.strerror}") from None
    _print_started(settings, files, started, url)
    for warning in model_warnings(settings):
        click.echo(f"warning: {warning}", err=True)


def _print_started(
    settings: Settings, files: process.DaemonFiles, started: subprocess.Popen[bytes], url: str
) -> None:
    key = "as configured" if settings.api_key else str(settings.data_dir / KEY_FILE)
    print_fields({"url": url, "pid": started.pid, "key": key, "log": str(files.log)})
    if url.rpartition(":")[2] != DEFAULT_SERVER.rpartition(":")[2]:
        click.echo(f"export ASH_SERVER_URL={url}")
    with AshClient(target=find_server(url, None, settings.data_dir, {})) as client:
        warn_of_missing_protection(client.health())
    # Keeps subprocess from warning that nobody waits for it: it should outlive this process.
    started.returncode = 0


def _health(client: AshClient) -> dict[str, Any]:
    try:
        said = client.health()
    except AshApiError as error:
        return {"running": False, "error": error.text}
    plain = {k: v for k, v in said.items() if not isinstance(v, dict | list)}
    return {"running": True, **plain, "missing": missing_protection(said)}


def _detached_url(files: process.DaemonFiles, pid: int | None) -> str | None:
    """The detached daemon's URL, or None if it does not run or the user has named a server."""
    named = os.environ.get("ASH_SERVER_URL") or click.get_current_context().find_root().params.get(
        "server"
    )
    if pid is None or named or not files.url.exists():
        return None
    return files.url.read_text().strip()


def _data_dir(own: Path | None) -> Path | None:
    before: Path | None = click.get_current_context().find_root().params.get("data_dir")
    return own or before


def _text(value: Path | None) -> str | None:
    return None if value is None else str(value)
