"""Checks `install.sh` and `startup.sh`, which a sandbox runs with bash."""

import re

from ash.folder_check.finding import FileReport, Report
from ash.folder_check.folder import Folder

FILES = ("install.sh", "startup.sh")

_SHELL = re.compile(r"#!\s*(?:\S*/env\s+(?:-\S+\s+)*)?(?:\S*/)?(?:ba|da|)sh\b")


def check_scripts(folder: Folder, report: Report) -> None:
    for path in FILES:
        text = folder.text(path, report)
        if text is None:
            continue
        about = FileReport(report, path, text)
        if (at := text.find("\r\n")) >= 0:
            about.warning(
                at, "Windows line ends (CRLF): bash would read the CR as part of each word"
            )
        if text.startswith("#!") and not _SHELL.match(text):
            first = text.partition("\n")[0].rstrip("\r")
            about.warning(0, f"the line {first} has no effect: {path} always runs with bash")
