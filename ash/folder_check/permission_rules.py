"""Which permission rules the CLI skips, and which it keeps but never matches.

A rule is `Tool` or `Tool(content)`.
"""

import re
from collections.abc import Callable
from typing import Literal

from msgspec import Struct

RuleKind = Literal["allow", "deny", "ask"]

_CALL = re.compile(r"([^()]*)\((.*)\)", re.DOTALL)
_MCP = re.compile(r"mcp__(?!__)(.+?)(?:__(.*))?", re.DOTALL)
_PATH_TOOLS = frozenset(("Read", "Write", "Edit", "Glob", "NotebookRead", "NotebookEdit", "Cd"))

# The CLI compares paths with rules for these two tools only.
_COVERED_BY = {
    "Glob": "Read",
    "MultiEdit": "Edit",
    "NotebookEdit": "Edit",
    "Write": "Edit",
}

# Tools that the CLI has or has had. Names with a `_` may be any server's.
_TOOLS = (
    "Agent AgentOutputTool Artifact AskUserQuestion Bash BashOutput BashOutputTool Brief"
    " CronCreate CronDelete CronList Edit EnterPlanMode EnterWorktree ExitPlanMode"
    " ExitWorktree Glob Grep KillBash KillShell LSP ListAgents ListMcpResources"
    " ListMcpResourcesTool Monitor NotebookEdit PowerShell PushNotification Read"
    " ReadMcpResource ReadMcpResourceTool RemoteTrigger ReportFindings ScheduleWakeup"
    " SendMessage SendUserFile Skill Task TaskCreate TaskGet TaskList TaskOutput TaskStop"
    " TaskUpdate TeamCreate TeamDelete TodoWrite ToolSearch WebFetch WebSearch Workflow Write"
)
KNOWN_TOOLS = frozenset(_TOOLS.split())


class Rule(Struct, frozen=True):
    tool: str
    content: str | None


class BadRule(Exception):
    """The text says why a rule is skipped."""


def read(text: str, kind: RuleKind) -> Rule:
    """Raises BadRule if the CLI would skip the rule."""
    if not text.strip():
        raise BadRule("it is empty")
    rule = _split(text)
    if rule.tool.startswith("mcp__") and (match := _MCP.fullmatch(rule.tool)):
        _check_mcp(rule, match, kind)
        return rule
    if not rule.tool:
        raise BadRule("no tool stands before the parentheses")
    if kind == "allow" and "*" in rule.tool:
        raise BadRule("a wildcard as the tool's name can't allow; only mcp__<server>__* can")
    if "_" not in rule.tool and rule.tool[0] != rule.tool[0].upper():
        raise BadRule(f"tools begin with a capital letter: {rule.tool[0].upper()}{rule.tool[1:]}")
    _check_content(rule)
    return rule


def _split(text: str) -> Rule:
    if "(" not in text and ")" not in text:
        return Rule(text, None)
    match = _CALL.fullmatch(text)
    if not match:
        raise BadRule("a rule is Tool or Tool(content) and ends at the closing parenthesis")
    if not match[2]:
        raise BadRule("nothing stands in the parentheses; leave them out")
    return Rule(match[1], match[2])


def _check_mcp(rule: Rule, match: re.Match[str], kind: RuleKind) -> None:
    if rule.content is not None:
        raise BadRule("rules for MCP tools have no parentheses")
    if kind == "allow" and "*" in match[1]:
        raise BadRule(
            "an allow rule names its MCP server; a wildcard may stand after mcp__<server>__"
        )


def _check_content(rule: Rule) -> None:
    if rule.content is None or rule.content == "*":
        return
    if check := _CONTENT_CHECKS.get(rule.tool):
        check(rule.content)
    elif rule.tool in _PATH_TOOLS and ":*" in rule.content:
        raise BadRule('":*" is for Bash alone; paths take * and **')


def _check_fetch(content: str) -> None:
    if not content.startswith("domain:"):
        raise BadRule("WebFetch takes a domain: WebFetch(domain:example.com)")


def _check_search(content: str) -> None:
    if "*" in content or "?" in content:
        raise BadRule("WebSearch takes exact words, no * or ?")


def _check_bash(content: str) -> None:
    if content == ":*":
        raise BadRule("no command stands before :*")


_CONTENT_CHECKS: dict[str, Callable[[str], None]] = {
    "Bash": _check_bash,
    "WebFetch": _check_fetch,
    "WebSearch": _check_search,
}


def never_matches(rule: Rule, kind: RuleKind) -> str | None:
    """Why a rule that the CLI keeps does not do what it says; None if it does."""
    if rule.content is not None:
        if covering := _COVERED_BY.get(rule.tool):
            return f"paths are compared for {covering} alone: write {covering}({rule.content})"
        if rule.tool == "Bash" and rule.content.endswith(":*") and "*" in rule.content[:-2]:
            return f"before :* a * is no wildcard: write Bash({rule.content[:-2]}*)"
        if kind != "allow" and rule.tool == "Bash" and rule.content.startswith("command:"):
            return "write the command alone, without command:"
    if (
        kind != "allow"
        and not any(sign in rule.tool for sign in "_*")
        and rule.tool not in KNOWN_TOOLS
    ):
        return f"there is no tool {rule.tool}"
    return None
