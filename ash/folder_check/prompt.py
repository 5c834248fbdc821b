"""Checks the instructions: `CLAUDE.md`, what it imports, and other Markdown that the CLI reads."""

import os
import re

from ash.folder_check.finding import FileReport, Report
from ash.folder_check.folder import Folder
from ash.folder_check.prose import prose

PROMPT_FILE = "CLAUDE.md"
_OTHERS = (".claude/CLAUDE.md", "CLAUDE.local.md")

# How many files deep imports go.
_MAX_DEPTH = 4

_IMPORT = re.compile(r"(?:^|(?<=\s))@((?:[^\s\\]|\\ )+)")
_PATH = re.compile(r"\./|~/|/.|[a-zA-Z0-9._-]")
# A name that is not a file's is more likely a person's: `@alice`.
_FILE_NAME = re.compile(r".*\.[A-Za-z0-9]{1,8}|.*/.*")


def check_prompt(folder: Folder, report: Report) -> None:
    _check_text(folder, report)
    for path in (PROMPT_FILE, *_OTHERS, *folder.files(".claude/rules", ".md")):
        _Imports(folder, report).follow(path, 0)


def _check_text(folder: Folder, report: Report) -> None:
    # What can't be read at all is reported where the imports are followed.
    text = folder.text(PROMPT_FILE, Report())
    if text is None:
        return
    about = FileReport(report, PROMPT_FILE, text)
    if (at := text.find("\0")) >= 0:
        about.error(at, "a NUL can't be part of a prompt; save the file without it")
    elif not text.removeprefix("\ufeff").strip():
        about.warning(0, "it is empty; the model gets Claude Code's own prompt")


class _Imports:
    def __init__(self, folder: Folder, report: Report) -> None:
        self._folder = folder
        self._report = report
        self._seen: set[str] = set()

    def follow(self, path: str, depth: int) -> None:
        if path in self._seen:
            return
        self._seen.add(path)
        text = self._folder.text(path, self._report)
        if text is None:
            return
        about = FileReport(self._report, path, text)
        names: set[str] = set()
        for match in _IMPORT.finditer(prose(text)):
            name = match[1].partition("#")[0].replace("\\ ", " ")
            if _PATH.match(name) and name not in names:
                names.add(name)
                self._check(path, name, match.start(), depth, about)

    def _check(self, importer: str, name: str, at: int, depth: int, about: FileReport) -> None:
        bare = name.rstrip(".,;:!?)")
        target = os.path.normpath(os.path.join(os.path.dirname(importer), name))  # noqa: PTH118, PTH120
        if name.startswith(("~", "/")) or target.startswith(".."):
            if _FILE_NAME.fullmatch(name):
                about.warning(at, f"@{name} is outside of the folder; it is left out of the prompt")
        elif not self._folder.has(target):
            if _FILE_NAME.fullmatch(bare):
                about.warning(at, f"@{name} is not there; it is left out of the prompt")
        elif depth == _MAX_DEPTH and target not in self._seen:
            about.warning(at, f"@{name} is left out: imports go {_MAX_DEPTH} files deep")
        else:
            self.follow(target, depth + 1)
