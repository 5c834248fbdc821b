"""Finds the settings of a server that is about to start, and refuses a file that nobody named.

`ash.toml` is read from the current folder without being asked for. That folder may be a repository
of somebody else, so its file must not decide where the user's own credentials are sent.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ash.config import Settings, find_toml, load
from ash.errors import ConfigError

# The settings that hold a credential for the model endpoint. If several are set, the first one is
# used, as in the CLI.
CREDENTIALS = ("anthropic_auth_token", "anthropic_api_key", "claude_code_oauth_token")


def load_to_start(
    file: Path | None,
    env: Mapping[str, str],
    flags: Mapping[str, Any],
    *,
    given_by: str | None = None,
) -> Settings:
    """Loads the settings from `file`, else from ASH_CONFIG or `ash.toml` in the current folder.

    Raises ConfigError as `load` does, and if a file that was only found there names the endpoint
    for a credential that comes from somewhere else.
    """
    found = find_toml(file, env, Path())
    settings = load(found, env, flags, given_by=given_by)
    if found is not None and file is None and not env.get("ASH_CONFIG"):
        _refuse_foreign_endpoint(settings, load(None, env, flags, given_by=given_by))
    return settings


def _refuse_foreign_endpoint(settings: Settings, without_file: Settings) -> None:
    if settings.anthropic_base_url == without_file.anthropic_base_url:
        return
    for name in (*CREDENTIALS, "anthropic_custom_headers"):
        if getattr(without_file, name) is not None:
            raise ConfigError(
                f"./ash.toml would have {name}, which it does not contain, sent to its"
                f" anthropic_base_url {settings.anthropic_base_url}: if you trust that file, name"
                " it with --config ash.toml or ASH_CONFIG=ash.toml, else set ANTHROPIC_BASE_URL"
            )


def model_warnings(settings: Settings) -> list[str]:
    """What its user should know of the credentials for the model endpoint, one sentence each."""
    given = [name for name in CREDENTIALS if getattr(settings, name)]
    if settings.engine == "scripted" or (not given and settings.anthropic_custom_headers):
        return []
    if not given:
        warning = (
            "no key for the model endpoint is set, so turns fail unless a session brings its own:"
            " set ANTHROPIC_API_KEY, ANTHROPIC_AUTH_TOKEN or CLAUDE_CODE_OAUTH_TOKEN"
        )
        return [warning]
    return [f"{name} is not used, because {given[0]} is set too" for name in given[1:]]
