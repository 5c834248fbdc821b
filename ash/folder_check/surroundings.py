import os
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct, field

# Where the programs of the system are, in a sandbox as on its host.
SYSTEM_PATH = (
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
)


def _always_reachable(_url: str) -> None:
    return None


class Surroundings(Struct, frozen=True, kw_only=True):
    """What a folder will find around it in its sandbox, as far as that is known before a start.

    `env` is the agent's environment. `programs` are the host's folders with programs that a
    sandbox shows at the same path. `tried`: its MCP servers are started as well, which says more
    than their files do. `unreachable` says why a URL can't be reached, None if it can.
    """

    env: Mapping[str, str] = field(default_factory=dict)
    programs: Sequence[str] = SYSTEM_PATH
    tried: bool = False
    unreachable: Callable[[str], str | None] = _always_reachable

    def has_program(self, name: str) -> bool:
        """Whether a command of that name, or a program at that absolute path, is there."""
        if name.startswith("/"):
            # Other absolute paths may be made by install.sh, or belong to the sandbox itself.
            return not name.startswith(tuple(self.programs)) or _exists(name)
        return any(_exists(f"{folder}/{name}") for folder in self.programs)


def _exists(path: str) -> bool:
    # Unlike Path.exists it takes any text, also one that is no path.
    return os.path.exists(path)  # noqa: PTH110
