"""Variables in the settings of MCP servers, expanded as the CLI does."""

from collections.abc import Iterator, Mapping


def expand(text: str, env: Mapping[str, str]) -> str:
    """The text with its variables replaced; one without a value or a default stays as it is."""
    parts: list[str] = []
    at = 0
    for start, end in _variables(text):
        name, has_default, default = text[start + 2 : end - 1].partition(":-")
        parts += [text[at:start], env.get(name, default if has_default else text[start:end])]
        at = end
    return "".join([*parts, text[at:]])


def missing(text: str, env: Mapping[str, str]) -> list[str]:
    """The names of the variables that have neither a value nor a default."""
    names = dict.fromkeys(text[start + 2 : end - 1] for start, end in _variables(text))
    return [name for name in names if ":-" not in name and name not in env]


def _variables(text: str) -> Iterator[tuple[int, int]]:
    """Where each `${NAME}` and `${NAME:-default}` begins and ends.

    Not a regular expression: with many `${` and no end it would look for that again and again.
    """
    at = 0
    while (start := text.find("${", at)) >= 0 and (end := text.find("}", start)) >= 0:
        if end > start + 2:
            yield start, end + 1
        at = end + 1
