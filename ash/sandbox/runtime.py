"""What the sandboxes run on, as the settings and this machine have it."""

import os
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import trio

from ash.config import Settings
from ash.config_sources import CREDENTIALS, model_warnings
from ash.descriptors import plan
from ash.egress import ModelUpstream, Places, credential_headers, custom_headers
from ash.errors import StartError
from ash.isolation import detect
from ash.large_lines import LargeLines
from ash.limits import DiskSweep, ResourceGroups
from ash.log import get_logger
from ash.sandbox.process import Spawner
from ash.sandbox.sandbox_process import Runtime

log = get_logger()


async def find_runtime(
    settings: Settings, spawner: Spawner, groups: ResourceGroups, upstream: ModelUpstream
) -> Runtime:
    """Raises StartError if the CLI is missing, or isolation that is asked for can't be had."""
    at_start = min(settings.hook_timeout, settings.engine_start_timeout / 2)
    given = {
        "ASH_HOOK_TIMEOUT": f"{settings.hook_timeout:g}",
        "ASH_START_HOOK_TIMEOUT": f"{at_start:g}",
    }
    readable: tuple[Path, ...] = ()
    if settings.engine != "scripted":
        cli = _cli(settings)
        given["CLAUDE_CODE_EXECUTABLE"] = str(cli)
        readable = (_program(cli),)
    descriptors = plan(
        max_sandboxes=settings.max_sandboxes, max_connections=settings.max_connections
    )
    find = partial(
        detect,
        settings.isolation,
        readable,
        hidden=(settings.data_dir.absolute(),),
    )
    return Runtime(
        spawner=spawner,
        isolation=await trio.to_thread.run_sync(find),
        groups=groups,
        disk=DiskSweep(),
        large_lines=LargeLines(),
        engine=settings.engine,
        upstream=upstream,
        environment=given,
        descriptors=descriptors,
        places=Places(descriptors.proxied),
    )


def model_upstream(settings: Settings) -> ModelUpstream:
    """Raises ConfigError."""
    for warning in model_warnings(settings):
        if credentials(settings):
            log.warning("config.ignored", text=warning)
        else:
            log.warning("model.key_missing", text=warning)
    custom = settings.anthropic_custom_headers
    headers = credential_headers(credentials(settings), custom)
    return ModelUpstream(
        settings.anthropic_base_url,
        headers,
        custom_headers(custom),
        silence=settings.model_silence_timeout,
        patience=settings.model_retry_timeout,
    )


def credentials(settings: Settings) -> dict[str, str]:
    """The credentials for the model endpoint that are set, by the names of their variables."""
    found = {name.upper(): getattr(settings, name) for name in CREDENTIALS}
    return {name: value for name, value in found.items() if value}


def _cli(settings: Settings) -> Path:
    """The CLI, links followed: the one that was asked for, else the SDK wheel's."""
    spec = find_spec("claude_agent_sdk")
    bundled = Path(spec.origin or "").parent / "_bundled" / "claude" if spec else None
    cli = settings.claude_code_executable or bundled
    if cli is None or not os.access(cli, os.X_OK):
        raise StartError(
            f"The Claude CLI is missing: {cli} can't be run. Install claude-agent-sdk, which"
            " carries it, or set CLAUDE_CODE_EXECUTABLE."
        )
    return cli.resolve()


def _program(cli: Path) -> Path:
    """What sandboxes need of it: a script, as npm installs it, has its modules beside it."""
    with cli.open("rb") as file:
        return cli if file.read(4) == b"\x7fELF" else cli.parent
