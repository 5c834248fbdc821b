"""Makes git in the sandbox commit under the agent's name.

The name is in git's system configuration, so any other configuration takes precedence.
"""

import os
from collections.abc import Callable
from pathlib import Path

# The host's own. It exists only without isolation, and then takes precedence over ours.
_HOST = "/etc/gitconfig"
_OFF = {"GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM"}


def set_default(write_log: Callable[[str], None]) -> None:
    """Does nothing if the environment already chooses the system configuration.

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
