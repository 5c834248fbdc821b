"""Takes code and comments out of Markdown, in one pass, however the text was made."""

import re
from bisect import bisect_right
from collections import defaultdict

_FENCE = re.compile(r"[ \t>]*(`{3,}|~{3,})")
_TICKS = re.compile(r"`+")
_BLANK_LINE = re.compile(r"\n[ \t]*\n")


def prose(text: str) -> str:
    """The text with blanks in place of code and comments, so that all else keeps its place."""
    lines = _without_blocks(text)
    parts: list[str] = []
    at = 0
    for gap in _BLANK_LINE.finditer(lines):
        parts += [_without_spans(lines[at : gap.start()]), gap[0]]
        at = gap.end()
    return "".join([*parts, _without_spans(lines[at:])])


def _without_blocks(text: str) -> str:
    kept: list[str] = []
    fence = ""
    for line in _without_comments(text).splitlines(keepends=True):
        match = _FENCE.match(line)
        if fence:
            kept.append(_blanks(line))
            if match and match[1].startswith(fence):
                fence = ""
        elif match:
            fence = match[1]
            kept.append(_blanks(line))
        else:
            kept.append(line)
    return "".join(kept)


def _without_comments(text: str) -> str:
    kept: list[str] = []
    at = 0
    while (start := text.find("<!--", at)) >= 0 and (end := text.find("-->", start)) >= 0:
        kept += [text[at:start], _blanks(text[start : end + 3])]
        at = end + 3
    return "".join([*kept, text[at:]])


def _without_spans(paragraph: str) -> str:
    """A span of code ends at the next run of as many ticks as it begins with."""
    runs = list(_TICKS.finditer(paragraph))
    starts: dict[int, list[int]] = defaultdict(list)
    for run in runs:
        starts[len(run[0])].append(run.start())
    kept: list[str] = []
    at = 0
    for run in runs:
        same = starts[len(run[0])]
        index = bisect_right(same, run.start())
        if run.start() >= at and index < len(same):
            end = same[index] + len(run[0])
            kept += [paragraph[at : run.start()], _blanks(paragraph[run.start() : end])]
            at = end
    return "".join([*kept, paragraph[at:]])


def _blanks(text: str) -> str:
    return "\n".join(" " * len(line) for line in text.split("\n"))
