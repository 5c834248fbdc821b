"""Reads an agent's `.env`. No error and no warning shows a value."""

import re
from io import StringIO

from dotenv.parser import Binding, parse_stream

from ash.errors import BadRequest
from ash.shapes import VALUE, VARIABLE

ENV_FILE = ".env"


def read_env(data: bytes) -> dict[str, str]:
    """The variables in the text of a `.env`. A `$` in a value is kept as it is.

    Raises BadRequest, naming the line.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadRequest(f"{ENV_FILE}: line {line} is not UTF-8") from None
    found: dict[str, str] = {}
    for binding in parse_stream(StringIO(text)):
        if binding.error or (binding.key is not None and not _fits(binding)):
            raise BadRequest(f"{ENV_FILE}: line {_line(binding)} is not NAME=value")
        if binding.key is not None:
            found[binding.key] = binding.value or ""
    return found


def _fits(binding: Binding) -> bool:
    value = binding.value
    return bool(
        value is not None and re.match(VARIABLE, binding.key or "") and re.match(VALUE, value)
    )


def _line(binding: Binding) -> int:
    """The parser counts the empty lines before a statement as its own."""
    text = binding.original.string
    return binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")
