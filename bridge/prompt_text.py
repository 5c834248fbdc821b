"""What the CLI makes of the text of a CLAUDE.md: what the model gets of it, and what it imports.

The model gets neither the front matter nor comments. `@path` is an import, unless it is in code, in
a comment or in a block of HTML. The CLI uses a Markdown parser for that; we find just these.
"""

import re
from collections import deque
from collections.abc import Callable

_FRONT_MATTER = re.compile(r"---[ \t]*\n(?:.*\n)*?---[ \t]*(?:\n|\Z)")
_FENCE = re.compile(r"[\s>]*(?:(?:[-*+]|\d+[.)])\s+)?(`{3,}|~{3,})")
_LIST_ITEM = re.compile(r"\s*(?:[-*+]|\d+[.)])\s")
_INDENTED = re.compile(r" {4}|\t")
_COMMENT_START = re.compile(r" {0,3}<!--")
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_CODE_SPAN = re.compile(r"(?<!`)(`+)(?!`)((?:(?!\n\s*\n).)+?)(?<!`)\1(?!`)", re.DOTALL)
_HTML_BLOCK = re.compile(r" {0,3}</?[a-zA-Z][^>]*>\s*$")
# Around the name of a file: emphasis, the link that it is the text of, a tag, a comment.
_MARKS = re.compile(
    r"<!--.*?-->|</?[a-zA-Z][^>]*>|\[|\]\([^)]*\)|\*+|(?<![\w@/.\\-])_+(?=\S)|(?<=\S)_+(?![\w/.-])",
    re.DOTALL,
)
_IMPORT = re.compile(r"(?:^|\s)@((?:[^\s\\]|\\ )+)")
_PATH = re.compile(r"\./|~/|/.|[a-zA-Z0-9._-]")


def parse(text: str) -> tuple[str, list[str]]:
    """What the model gets of the text, and the paths that it imports, in their order."""
    if text.startswith("---"):
        text = _FRONT_MATTER.sub("", text, count=1)
    if "@" not in text and "<!--" not in text:
        return text, []
    kept, prose = _Scan(text).result
    words = _MARKS.sub(" ", _CODE_SPAN.sub(" ", prose))
    found = [match[1].partition("#")[0] for match in _IMPORT.finditer(words)]
    names = [name.replace("\\ ", " ") for name in found if _PATH.match(name)]
    return kept, list(dict.fromkeys(names))


class _Scan:
    """Goes through the lines: `result` is the text without comments, and its prose."""

    def __init__(self, text: str) -> None:
        self._lines = deque(text.splitlines(keepends=True))
        self._kept: list[str] = []
        self._prose: list[str] = []
        self._after_blank = True
        self._in_list = False
        while self._lines:
            self._take(self._lines.popleft())
        self.result = "".join(self._kept), "".join(self._prose)

    def _take(self, line: str) -> None:
        if fence := _FENCE.match(line):
            self._take_fenced(line, fence[1])
        elif _COMMENT_START.match(line):
            self._take_comment(line)
        elif self._after_blank and _HTML_BLOCK.match(line):
            self._kept.append(line)
            self._keep_up_to(lambda line: not line.strip())
        elif self._after_blank and not self._in_list and _INDENTED.match(line):
            self._kept.append(line)  # code, and so is an indented line that follows it
        else:
            self._take_prose(line)

    def _take_fenced(self, line: str, fence: str) -> None:
        self._kept.append(line)
        self._keep_up_to(lambda line: fence in line and not line.strip(f" \t\r\n>{fence[0]}"))
        self._after_blank = False

    def _take_comment(self, line: str) -> None:
        """A comment goes up to the end of the line that it ends in; what else is there stays."""
        lines = [line]
        while "-->" not in lines[-1] and self._lines:
            lines.append(self._lines.popleft())
        comment = "".join(lines)
        if "-->" not in comment:
            self._kept.append(comment)
        elif (rest := _COMMENT.sub("", comment)).strip():
            self._take_prose(rest)

    def _take_prose(self, line: str) -> None:
        self._kept.append(line)
        self._prose.append(line)
        self._after_blank = not line.strip()
        if not self._after_blank and not line[0].isspace():
            self._in_list = False
        if _LIST_ITEM.match(line):
            self._in_list = True

    def _keep_up_to(self, is_last: Callable[[str], bool]) -> None:
        """Keeps lines that are not prose, the last one included."""
        while self._lines:
            self._kept.append(self._lines.popleft())
            if is_last(self._kept[-1]):
                return
