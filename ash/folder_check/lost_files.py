"""Which settings and servers of a folder the CLI would drop as a whole, without a word."""

from pathlib import Path

from ash.folder_check.finding import Report
from ash.folder_check.folder import Folder
from ash.folder_check.hooks import DROPPED
from ash.folder_check.mcp import FILE, check_mcp
from ash.folder_check.mcp import LOST as NO_SERVERS
from ash.folder_check.settings import LOST, SETTINGS_FILES, check_settings
from ash.folder_check.surroundings import Surroundings
from ash.model import Finding, Severity

# The files that count as a whole, or not at all.
WHOLE_FILES = (*SETTINGS_FILES, FILE)

_ENDS = (LOST, DROPPED, NO_SERVERS)


def lost_files(root: Path) -> dict[str, Finding]:
    """Those of WHOLE_FILES that the CLI would drop, or that can't be checked; and why. Blocks."""
    folder, report = Folder(root), _Losses()
    check_settings(folder, Surroundings(), report)
    check_mcp(folder, Surroundings(), report)
    return {finding.path: finding for finding in reversed(report.findings)}


class _Losses(Report):
    """Of the findings about a text, only the first in each file that costs the whole file.

    A hostile file may have many other errors before that one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._paths: set[str] = set()

    def wants(self, severity: Severity, path: str, message: str) -> bool:
        if path in self._paths or severity != "error" or not message.endswith(_ENDS):
            return False
        self._paths.add(path)
        return True
