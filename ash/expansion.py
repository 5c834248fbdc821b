"""Variables in the settings of MCP servers, expanded as the CLI does."""

import re
from collections.abc import Mapping

# `${NAME}`, or `${NAME:-what counts if NAME is not set}`.
_VARIABLE = re.compile(r"\$\{([^}]+)\}")


def expand(text: str, env: Mapping[str, str]) -> str:
    """The text with its variables replaced; one without a value or a default stays as it is."""

    def value(match: re.Match[str]) -> str:
        name, has_default, default = match[1].partition(":-")
        return env.get(name, default if has_default else match[0])

    return _VARIABLE.sub(value, text)


def missing(text: str, env: Mapping[str, str]) -> list[str]:
    """The names of the variables that have neither a value nor a default."""
    names = (match[1] for match in _VARIABLE.finditer(text))
    return [name for name in dict.fromkeys(names) if ":-" not in name and name not in env]
