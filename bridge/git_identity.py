"""Gives git in the sandbox a name to commit under: the agent's.

It is a system configuration. So what the agent, a session or a repository says counts before it.
"""

import os
from collections.abc import Callable
from pathlib import Path

# The host's own, which without isolation is there and counts before ours.
_HOST = "/etc/gitconfig"
_OFF = {"GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM"}


def set_default(write_log: Callable[[str], None]) -> None:
    """Does nothing if the environment says where the system's configuration is, or that it is none.

    The name has only letters, digits, `_` and `-`. The domain is one that never exists (RFC 2606).
    """
    name = os.environ.get("ASH_AGENT")
    if not name or _OFF & os.environ.keys():
        return
    file = Path.home() / ".config" / "ash" / "gitconfig"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(
            f"[user]\n\tname = {name}\n\temail = {name}@ash.invalid\n[include]\n\tpath = {_HOST}\n"
        )
    except OSError as error:
        write_log(f"git has no identity to commit under: {file}: {error.strerror}")
    else:
        os.environ["GIT_CONFIG_SYSTEM"] = str(file)
