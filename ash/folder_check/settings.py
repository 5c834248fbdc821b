"""Checks `.claude/settings.json` and `settings.local.json`."""

from typing import get_args

from ash.folder_check.finding import MOST, FileReport, Report
from ash.folder_check.folder import Folder
from ash.folder_check.hooks import HookChecker
from ash.folder_check.json_file import read_object
from ash.folder_check.json_tree import Node
from ash.folder_check.permission_rules import BadRule, RuleKind, never_matches, read
from ash.folder_check.settings_types import (
    CHOICES,
    KINDS,
    MEMBERS,
    OBJECT_LISTS,
    OTHER_KEYS,
    PERMISSION_MODES,
    SHARES,
    WHOLE,
)
from ash.folder_check.surroundings import Surroundings
from ash.model import Severity
from ash.typos import meant

SETTINGS_FILES = (".claude/settings.json", ".claude/settings.local.json")

LOST = "the CLI would drop the whole file, its deny rules and hooks too"

_RULES: tuple[RuleKind, ...] = get_args(RuleKind)
_PERMISSION_KEYS = (
    *_RULES,
    "additionalDirectories",
    "defaultMode",
    "disableAutoMode",
    "disableBypassPermissionsMode",
)

# Tools that end as denied, or are not offered, because a person would have to answer.
NEEDS_A_PERSON = frozenset(("AskUserQuestion", "ExitPlanMode"))


def check_settings(folder: Folder, around: Surroundings, report: Report) -> None:
    for path in SETTINGS_FILES:
        if found := read_object(folder, path, report, lost=LOST):
            node, about = found
            _check_types(node, about)
            _check_names(node, about, [*KINDS, *CHOICES, *OTHER_KEYS])
            if permissions := node.get("permissions"):
                _check_permissions(permissions, about)
            HookChecker(folder, around, about).check(node)


def _check_types(node: Node, about: FileReport) -> None:
    for name, value in node.members.items():
        expected = KINDS.get(name)
        if expected and value.kind != expected:
            about.error(value.at, f'"{name}" must be of type {expected}, not {value.kind}; {LOST}')
        elif name in CHOICES:
            _check_choice(name, value, CHOICES[name], about)
        elif expected == "number":
            _check_number(name, value, about)
        elif expected == "array":
            _check_items(name, value, about)
        for member, kind in MEMBERS.get(name, {}).items():
            inner = value.get(member)
            if inner is not None and inner.kind != kind:
                about.error(
                    inner.at, f'"{member}" must be of type {kind}, not {inner.kind}; {LOST}'
                )


def _check_number(name: str, node: Node, about: FileReport) -> None:
    if node.value < 0:
        about.error(node.at, f'"{name}" must be 0 or more; {LOST}')
    elif name in SHARES and node.value > 1:
        about.error(node.at, f'"{name}" must be 1 or less; {LOST}')
    elif name in WHOLE and node.value % 1:
        about.error(node.at, f'"{name}" must be a whole number; {LOST}')


def _check_items(name: str, node: Node, about: FileReport) -> None:
    expected = "object" if name in OBJECT_LISTS else "string"
    wrong = next((item for item in node.items if item.kind != expected), None)
    if wrong is not None:
        about.error(
            wrong.at, f'"{name}" must hold items of type {expected}, not {wrong.kind}; {LOST}'
        )


def _check_choice(name: str, value: Node, choices: tuple[str, ...], about: FileReport) -> None:
    if value.value not in choices:
        about.error(value.at, f'"{name}" must be one of {", ".join(choices)}; {LOST}')


def _check_names(node: Node, about: FileReport, known: list[str]) -> None:
    """The CLI ignores names that it does not know; one that looks mistyped is reported."""
    unknown = [each for each in node.keys.items() if each[0] not in known]
    for name, at in unknown[:MOST]:
        if close := meant(name, known):
            guard = close in {"permissions", "hooks", "deny", "ask"}
            about.add(
                "error" if guard else "warning",
                at,
                f'the CLI does not know "{name}" and ignores it; did you mean "{close}"?',
            )


def _check_permissions(node: Node, about: FileReport) -> None:
    if node.kind != "object":
        about.error(node.at, f'"permissions" must be of type object, not {node.kind}; {LOST}')
        return
    _check_names(node, about, list(_PERMISSION_KEYS))
    for kind in _RULES:
        if rules := node.get(kind):
            _check_rules(kind, rules, about)
    if mode := node.get("defaultMode"):
        _check_choice("defaultMode", mode, PERMISSION_MODES, about)
        if mode.value == "plan":
            about.warning(mode.at, "plan mode ends when a person accepts the plan; nobody can")
    if bypass := node.get("disableBypassPermissionsMode"):
        _check_choice("disableBypassPermissionsMode", bypass, ("disable",), about)
    if directories := node.get("additionalDirectories"):
        _check_texts("additionalDirectories", directories, about)


def _check_texts(name: str, node: Node, about: FileReport) -> None:
    if node.kind != "array" or any(item.kind != "string" for item in node.items):
        about.error(node.at, f'"{name}" must be a list of strings; {LOST}')


def _check_rules(kind: RuleKind, rules: Node, about: FileReport) -> None:
    if rules.kind != "array":
        about.error(rules.at, f'"{kind}" must be a list of rules, not {rules.kind}; {LOST}')
    for rule in rules.items:
        _check_rule(kind, rule, about)
    if kind == "ask" and rules.items:
        about.warning(rules.at, "ask rules wait for a person; without one the tool is denied")


def _check_rule(kind: RuleKind, rule: Node, about: FileReport) -> None:
    """Without a deny or ask rule a tool may run, so it is an error if one is skipped."""
    severity: Severity = "warning" if kind == "allow" else "error"
    if not isinstance(rule.value, str):
        about.add(severity, rule.at, f"the CLI skips this {kind} rule: it is not a string")
        return
    try:
        understood = read(rule.value, kind)
    except BadRule as error:
        about.add(severity, rule.at, f'the CLI skips the {kind} rule "{rule.value}": {error}')
        return
    if why := never_matches(understood, kind):
        about.warning(rule.at, f'the {kind} rule "{rule.value}" never matches: {why}')
    elif kind == "allow" and understood.tool in NEEDS_A_PERSON:
        about.warning(rule.at, f"{understood.tool} needs a person to answer; a session has none")
