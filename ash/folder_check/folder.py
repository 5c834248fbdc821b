"""Reads the files of a folder, and nothing outside of it."""

import os
import stat
from pathlib import Path

from ash.folder_check.finding import Report

# The CLI leaves out larger instructions.
MAX_BYTES = 4 * 1024 * 1024

# The first bytes of files in other encodings, if they have a mark.
_OTHER_ENCODINGS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


class Folder:
    """The folder at `root`. A link that leads out of it counts as missing."""

    def __init__(self, root: Path) -> None:
        self._root = Path(os.path.realpath(root))

    def resolve(self, path: str) -> Path | None:
        """The file or folder at that relative path; None if there is none inside."""
        try:
            real = Path(os.path.realpath(self._root / path))
            return real if real.is_relative_to(self._root) and real.exists() else None
        except (OSError, ValueError):  # no file can have that name
            return None

    def has(self, path: str) -> bool:
        return self.resolve(path) is not None

    def files(self, folder: str, suffix: str = "") -> list[str]:
        """The paths of the files below that folder, in order."""
        top = self.resolve(folder)
        if top is None or not top.is_dir():
            return []
        found = (
            (Path(folder) / Path(here, name).relative_to(top)).as_posix()
            for here, _, names in os.walk(top)
            for name in names
            if name.endswith(suffix)
        )
        return sorted(found)

    def head(self, path: str, size: int) -> bytes | None:
        """The first bytes of a regular file; None if there is none that can be read."""
        real = self.resolve(path)
        try:
            if real is None or not stat.S_ISREG(real.stat().st_mode):
                return None
            with real.open("rb") as file:
                return file.read(size)
        except OSError:
            return None

    def text(self, path: str, report: Report, most: int = MAX_BYTES) -> str | None:
        """The text of a file; None if it is missing, or if it can't be used and is reported."""
        data = self.head(path, most + 1)
        if data is None:
            return None
        if len(data) > most:
            then = "the CLI would leave it out" if most == MAX_BYTES else "it can't be checked"
            report.add("error", path, f"larger than {most // 1024 // 1024} MB; {then}")
            return None
        if encoding := _OTHER_ENCODINGS.get(data[:2]):
            report.add("error", path, f"this is {encoding}; save it as UTF-8")
            return None
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            before = data[: error.start]
            column = len(before[before.rfind(b"\n") + 1 :].decode()) + 1
            line = before.count(b"\n") + 1
            text = "this is not UTF-8; save the file as UTF-8"
            report.add("error", path, text, line=line, column=column)
            return None
