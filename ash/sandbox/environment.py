"""The environment of a sandbox, by allow-list: nothing of the daemon's own gets in unnamed."""

from collections.abc import Mapping

from ash.isolation import GuestPaths

# The CLI's own traffic beside the model's, and its update of itself, have no place here.
QUIET = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_BUG_COMMAND": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "DISABLE_TELEMETRY": "1",
}

# Between daemon and bridge: an agent's env has no say in it.
RESERVED = "ASH_"

API_KEY, BASE_URL = "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"


def environment(
    inside: GuestPaths, own: Mapping[str, str], given: Mapping[str, str]
) -> dict[str, str]:
    """`own` is what the agent asks for, `given` what the daemon says, which wins."""
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        # What runs in it dies for want of memory before the engine does.
        "SHELL": f"{inside.library}/ash/limits/bin/bash",
        "USER": "agent",
        **QUIET,
        **own_part(own),
        **given,
        "HOME": inside.home,
        # As root inside, which only `isolation = none` is, the CLI asks for this word.
        "IS_SANDBOX": "1",
        "PYTHONPATH": inside.python_path,
    }


def own_part(own: Mapping[str, str]) -> dict[str, str]:
    """What of an agent's or a session's env gets inside.

    A key for the model endpoint does not: the proxy adds it. It does if the model is elsewhere,
    where the proxy adds nothing.
    """
    kept = {name: value for name, value in own.items() if not name.startswith(RESERVED)}
    if BASE_URL not in own:
        kept.pop(API_KEY, None)
    return kept


def own_key(own: Mapping[str, str]) -> str | None:
    """The key that the proxy is to add for this env in place of the daemon's own."""
    return own.get(API_KEY) if BASE_URL not in own else None
