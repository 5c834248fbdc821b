"""Which files of an agent's folder stay behind: `.ashignore`, in the syntax of `.gitignore`."""

import re
from enum import Enum, auto

from pathspec import GitIgnoreSpec

from ash.errors import BadRequest

IGNORE_FILE = ".ashignore"

# Folders that can be made anew, version control, and secrets. A line `!name` brings one back.
DEFAULTS = (".git", ".venv", "node_modules", "__pycache__", ".env*")


class Ignored(Enum):
    """Whether a path stays behind, and who says so."""

    NO = auto()
    BY_DEFAULT = auto()
    BY_OWNER = auto()


class IgnoreRules:
    """The default patterns and then those of `.ashignore`; the last one that fits decides."""

    def __init__(self, text: str = "") -> None:
        """Raises BadRequest for a line that is no pattern."""
        own = text.splitlines()
        for number, line in enumerate(own, 1):
            _check(number, line)
        # The other engines that pathspec may find can't read names that are not UTF-8.
        self._spec = GitIgnoreSpec.from_lines([*DEFAULTS, *own], backend="simple")

    def ignored(self, path: str, *, folder: bool) -> tuple[Ignored, str]:
        """What happens to the path, and the default pattern that decides it, if one does.

        As for git, what is below an ignored folder is not asked for.
        """
        found = self._spec.check_file(f"{path}/" if folder else path)
        if not found.include or found.index is None:
            return Ignored.NO, ""
        if found.index < len(DEFAULTS):
            return Ignored.BY_DEFAULT, DEFAULTS[found.index]
        return Ignored.BY_OWNER, ""


def _check(number: int, line: str) -> None:
    try:
        GitIgnoreSpec.from_lines([line], backend="simple")
    except (ValueError, re.error):
        raise BadRequest(f"{IGNORE_FILE}: line {number} is not a pattern of .gitignore") from None
