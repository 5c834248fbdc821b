"""Names tools that need a person, where subagents, commands and skills ask for them."""

import re

from ash.folder_check.finding import FileReport, Report
from ash.folder_check.folder import Folder
from ash.folder_check.settings import NEEDS_A_PERSON

_FOLDERS = (".claude/agents", ".claude/commands", ".claude/skills")
_FRONT_MATTER = re.compile(r"---[ \t]*\r?\n(.*?)^---[ \t]*$", re.DOTALL | re.MULTILINE)
_TOOLS = re.compile(
    r"^(?:tools|allowed-tools)[ \t]*:(?:[^\n]*(?:\n[ \t]+[^\n]*|\n-[^\n]*)*)", re.MULTILINE
)
_NAMES = re.compile(rf"\b(?:{'|'.join(sorted(NEEDS_A_PERSON))})\b")


def check_tools(folder: Folder, report: Report) -> None:
    for path in (path for top in _FOLDERS for path in folder.files(top, ".md")):
        text = folder.text(path, report)
        head = _FRONT_MATTER.match(text) if text else None
        if text is None or head is None:
            continue
        about = FileReport(report, path, text)
        for tools in _TOOLS.finditer(text, head.start(1), head.end(1)):
            for name in _NAMES.finditer(text, *tools.span()):
                about.warning(
                    name.start(), f"{name[0]} needs a person to answer; a session has none"
                )
