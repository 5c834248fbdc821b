"""Checks an agent's folder before it is deployed: what of it the CLI will not use, and why.

The rules are those of the Claude CLI 2.1.329; `tests/folder_check` compares them with the CLI
itself. The check only reads files. It starts nothing and looks nothing up.
"""

from ash.folder_check.check import check_folder
from ash.folder_check.commands import path_in_folder, shell_words
from ash.folder_check.finding import errors
from ash.folder_check.lost_files import WHOLE_FILES, lost_files
from ash.folder_check.mcp import read_servers, report_servers
from ash.folder_check.prompt import PROMPT_FILE
from ash.folder_check.settings import SETTINGS_FILES
from ash.folder_check.surroundings import Surroundings

__all__ = [
    "PROMPT_FILE",
    "SETTINGS_FILES",
    "WHOLE_FILES",
    "Surroundings",
    "check_folder",
    "errors",
    "lost_files",
    "path_in_folder",
    "read_servers",
    "report_servers",
    "shell_words",
]
