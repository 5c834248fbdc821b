"""The permission rules in a session's options: those that the CLI would skip are refused."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from ash.errors import BadRequest
from ash.folder_check.permission_rules import (
    KNOWN_TOOLS,
    BadRule,
    RuleKind,
    never_matches,
    read,
)
from ash.requests.unknown_fields import MOST_UNKNOWN
from ash.session_options import API_NAMES
from ash.typos import meant

_KINDS: dict[str, RuleKind] = {"allowed_tools": "allow", "disallowed_tools": "deny"}

# The CLI splits a list of rules at commas and blanks. It does not count parentheses.
_RULE = re.compile(r"(?:\([^)]*\)?|[^ ,(])+")


def check_tool_rules(options: dict[str, Any]) -> list[str]:
    """A warning for each rule that may have no effect. The options have their names in Python.

    Raises BadRequest for a rule that the CLI would skip, or whose tool is a typo of a known one.
    """
    found = (
        f'{API_NAMES[name]}: the rule "{rule}" may not match: {why}'
        for name, kind in _KINDS.items()
        for rule, why in _doubts(API_NAMES[name], options.get(name) or (), kind)
    )
    # All of them are read, as the last one may be refused.
    return [*found][:MOST_UNKNOWN]


def _doubts(field: str, texts: Iterable[str], kind: RuleKind) -> Iterator[tuple[str, str]]:
    strange: set[str] = set()
    for text in texts:
        for part in _RULE.findall(text) or [""]:
            try:
                rule = read(part.strip(), kind)
                if rule.tool not in strange and not _is_known(rule.tool):
                    strange.add(rule.tool)
                    _refuse_typo(rule.tool)
            except BadRule as error:
                raise BadRequest(f'{field}: the CLI would skip "{text}": {error}') from None
            if len(strange) > MOST_UNKNOWN:
                # To compare each with all known names takes time of the loop.
                raise BadRequest(f"{field}: more than {MOST_UNKNOWN} tools are unknown")
            if why := never_matches(rule, kind):
                yield text, why
            elif rule.tool in strange:
                yield text, f"there is no tool {rule.tool}"


def _is_known(tool: str) -> bool:
    return tool in KNOWN_TOOLS or tool.startswith("mcp__") or "*" in tool


def _refuse_typo(tool: str) -> None:
    if close := meant(tool, KNOWN_TOOLS):
        raise BadRule(f'there is no tool {tool}; did you mean "{close}"?')
