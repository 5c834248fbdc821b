"""The environment of a sandbox: of the daemon's own, only variables of an allow-list."""

from collections.abc import Mapping

from ash.egress import CREDENTIALS
from ash.isolation import GuestPaths

# Turns off the CLI's update of itself and all its traffic that is not to the model.
QUIET = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_BUG_COMMAND": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "DISABLE_TELEMETRY": "1",
}

_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# These are between daemon and bridge; an agent's env can't set them.
RESERVED = "ASH_"

# The agent's name, under which git commits.
AGENT = "ASH_AGENT"

BASE_URL = "ANTHROPIC_BASE_URL"

# Python, the C library and OpenSSL load code by these: none of the agent's may get into the bridge.
_LOADING = ("LD_", "PYTHON", "GLIBC_", "MALLOC_", "GCONV_", "LOCPATH", "OPENSSL_")
_OURS = "PYTHONPATH"
HELD_BACK = f"{RESERVED}LATER_"


# Debian's pip refuses to install beside the system's packages. These are read-only in a sandbox, so
# pip goes below HOME. Without isolation they are the host's, and the refusal is right.
_PIP = {"PIP_BREAK_SYSTEM_PACKAGES": "1"}


def environment(
    inside: GuestPaths,
    own: Mapping[str, str],
    given: Mapping[str, str],
    *,
    isolated: bool = True,
) -> dict[str, str]:
    """`own` is the agent's environment, `given` the daemon's, which takes precedence.

    AGENT in `own` is the daemon's too: `with_name` has put it there.
    What an agent installs is found by all later commands: in the workspace's virtual environment,
    if it makes one, else below HOME.
    """
    return {
        "PATH": f"{inside.workspace}/.venv/bin:{inside.home}/.local/bin:{_SYSTEM_PATH}",
        "NPM_CONFIG_PREFIX": f"{inside.home}/.local",
        **(_PIP if isolated else {}),
        "LANG": "C.UTF-8",
        # If memory runs out, programs in the sandbox are killed before the engine.
        "SHELL": f"{inside.library}/ash/limits/bin/bash",
        "USER": "agent",
        **QUIET,
        **own_part(own),
        **given,
        AGENT: own.get(AGENT, ""),
        "HOME": inside.home,
        # As root inside, which only `isolation = none` is, the CLI asks for this word.
        "IS_SANDBOX": "1",
        "PYTHONPATH": inside.python_path,
    }


def for_bridge(env: Mapping[str, str]) -> dict[str, str]:
    """The same, but what would load code into the bridge has other names.

    The bridge gives it to the programs that it starts under its own name.
    """
    return {
        f"{HELD_BACK}{name}" if name.startswith(_LOADING) and name != _OURS else name: value
        for name, value in env.items()
    }


def with_name(own: Mapping[str, str], agent: str) -> dict[str, str]:
    """An agent's environment, with the name of the agent."""
    return {**own, AGENT: agent}


def own_part(own: Mapping[str, str]) -> dict[str, str]:
    """The variables of an agent's or a session's env that the sandbox gets.

    A credential for the model endpoint is not one of them, because the proxy adds it. If the model
    is elsewhere the sandbox gets it, because the proxy adds nothing there.
    """
    kept = {name: value for name, value in own.items() if not name.startswith(RESERVED)}
    if BASE_URL not in own:
        for name in CREDENTIALS:
            kept.pop(name, None)
    return kept


def own_credentials(agent: Mapping[str, str], session: Mapping[str, str]) -> dict[str, str]:
    """The credentials that the proxy is to use in place of the daemon's own.

    Those of the session count before those of the agent, whatever their kind.
    """
    if BASE_URL in agent or BASE_URL in session:
        return {}
    for env in (session, agent):
        if found := {name: env[name] for name in CREDENTIALS if env.get(name)}:
            return found
    return {}
