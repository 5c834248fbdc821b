"""The environment of a sandbox, by allow-list: nothing of the daemon's own gets in unnamed."""

from collections.abc import Mapping

from ash.sandbox.isolation import Inside

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


def environment(
    inside: Inside, *, engine: str, bridge_fd: int, own: Mapping[str, str], model: Mapping[str, str]
) -> dict[str, str]:
    """`own` is what agent and session ask for, `model` how the model is reached.

    The model's settings win: an agent can't send the traffic elsewhere by its env.
    """
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "SHELL": "/bin/bash",
        "USER": "agent",
        **QUIET,
        **own_part(own, model),
        **model,
        "HOME": inside.home,
        # As root inside, which only `isolation = none` is, the CLI asks for this word.
        "IS_SANDBOX": "1",
        "PYTHONPATH": inside.library,
        "ASH_ENGINE": engine,
        "ASH_BRIDGE_FD": str(bridge_fd),
    }


def own_part(own: Mapping[str, str], model: Mapping[str, str]) -> dict[str, str]:
    """What an agent or a session may set itself."""
    return {
        name: value
        for name, value in own.items()
        if not name.startswith(RESERVED) and name not in model
    }
