"""Checks the hooks of a settings file: their shape, and whether what they run can run."""

from ash.folder_check.commands import CommandChecker
from ash.folder_check.finding import FileReport
from ash.folder_check.folder import Folder
from ash.folder_check.json_tree import Node
from ash.folder_check.settings_types import HOOK_EVENTS
from ash.folder_check.surroundings import Surroundings
from ash.model import Severity
from ash.typos import meant

# If a hook of these events has a wrong shape, the CLI drops the file.
GUARDS = frozenset(("PreToolUse", "PermissionRequest"))

# If a hook of these events can't run, what it guards is refused.
_REFUSING = GUARDS | {"UserPromptSubmit"}

# What each type of hook needs, and the type of that.
_NEEDS = {
    "agent": ("prompt", "string"),
    "command": ("command", "string"),
    "http": ("url", "string"),
    "mcp_tool": ("tool", "string"),
    "prompt": ("prompt", "string"),
}

# The CLI goes on if one of these fails, whatever its settings say.
_NEVER_BLOCKS = frozenset(("agent", "prompt"))
# What else a hook may say, with the type or the values that the CLI takes.
_ALLOWS: dict[str, str | tuple[str, ...]] = {
    "async": "boolean",
    "asyncRewake": "boolean",
    "if": "string",
    "once": "boolean",
    "onFailure": ("block", "continue"),
    "shell": ("bash", "powershell"),
    "statusMessage": "string",
    "timeout": "number",
}

DROPPED = "the CLI would drop the whole file, its deny rules and other hooks too"
_IGNORED = "the CLI ignores it"


class HookChecker:
    """Checks one file, which `about` reports on."""

    def __init__(self, folder: Folder, around: Surroundings, about: FileReport) -> None:
        self._about = about
        self._commands = CommandChecker(folder, around)

    def check(self, settings: Node) -> None:
        for name, at in settings.keys.items():
            if name in GUARDS:
                self._about.error(at, f'"{name}" must stand in "hooks"; {DROPPED}')
        hooks = settings.get("hooks")
        if hooks is None:
            return
        if hooks.kind != "object":
            self._about.error(hooks.at, f'"hooks" must be an object, not {hooks.kind}; {_IGNORED}')
        for event, matchers in hooks.members.items():
            self._check_event(event, hooks.keys[event], matchers)

    def _check_event(self, event: str, at: int, matchers: Node) -> None:
        if event not in HOOK_EVENTS:
            close = meant(event, HOOK_EVENTS)
            hint = f'; did you mean "{close}"?' if close else ""
            self._about.error(at, f'there is no hook event "{event}", so it never runs{hint}')
            return
        if matchers.kind != "array":
            self._fault(event, matchers, "must be a list of matchers")
        for matcher in matchers.items:
            self._check_matcher(event, matcher)

    def _check_matcher(self, event: str, matcher: Node) -> None:
        named, hooks = matcher.get("matcher"), matcher.get("hooks")
        if named is not None and named.kind != "string":
            self._fault(event, named, '"matcher" must be a string')
        if hooks is None or hooks.kind != "array":
            self._fault(event, matcher, 'a matcher needs "hooks", a list')
            return
        for hook in hooks.items:
            self._check_hook(event, hook)

    def _check_hook(self, event: str, hook: Node) -> None:
        kind = hook.get("type")
        if kind is None or kind.value not in _NEEDS:
            self._fault(event, kind or hook, f'"type" must be one of {", ".join(_NEEDS)}')
            return
        name, expected = _NEEDS[kind.value]
        needed = hook.get(name)
        if needed is None or needed.kind != expected:
            self._fault(
                event, needed or hook, f'a hook of type {kind.value} needs "{name}", a text'
            )
            return
        if not self._check_options(event, hook):
            return
        if kind.value == "command":
            self._check_command(event, hook, needed)
        if event in _REFUSING:
            self._check_failure(event, hook, kind.value)

    def _check_failure(self, event: str, hook: Node, kind: str) -> None:
        """A hook that no shell runs is out of reach of the bridge's runner, which would refuse."""
        beside, failure = hook.get("async"), hook.get("onFailure")
        if beside is not None and beside.value is True:
            text = f'this {event} hook runs beside what it guards and can not refuse it: "async"'
            self._about.add("warning", beside.at, text)
        if kind == "command" and hook.get("args") is None:
            return
        if failure is None or failure.value != "block" or kind in _NEVER_BLOCKS:
            cure = "use a command" if kind in _NEVER_BLOCKS else 'add "onFailure": "block"'
            text = f"if this {event} hook fails or hangs, what it guards goes on; {cure}"
            self._about.add("warning", hook.at, text)

    def _check_options(self, event: str, hook: Node) -> bool:
        """Whether the CLI takes what else the hook says."""
        for name, allowed in _ALLOWS.items():
            option = hook.get(name)
            if option is None:
                continue
            if isinstance(allowed, tuple):
                good, text = option.value in allowed, f"one of {', '.join(allowed)}"
            else:
                good, text = option.kind == allowed, f"a {allowed}"
            if good and name == "timeout":
                good, text = option.value > 0, "a number over 0"
            if not good:
                self._fault(event, option, f'"{name}" must be {text}')
                return False
        args = hook.get("args")
        if args is not None and (
            args.kind != "array" or any(arg.kind != "string" for arg in args.items)
        ):
            self._fault(event, args, '"args" must be a list of strings')
            return False
        return True

    def _check_command(self, event: str, hook: Node, command: Node) -> None:
        args = hook.get("args")
        fault = (
            self._commands.in_shell(command.value)
            if args is None
            else self._commands.program(command.value, [str(arg.value) for arg in args.items])
        )
        if fault is None:
            return
        severity: Severity = "error" if event in _REFUSING and fault.certain else "warning"
        then = "it would do nothing"
        if event in _REFUSING:
            # The bridge's runner of hooks stands between a shell and its command, nowhere else.
            refuses = "all that it guards would be refused"
            then = refuses if args is None else "what it guards would go on without it"
        self._about.add(severity, command.at, f"this {event} hook can't run: {fault.text}; {then}")

    def _fault(self, event: str, node: Node, text: str) -> None:
        then = DROPPED if event in GUARDS else _IGNORED
        self._about.error(node.at, f"{event}: {text}; {then}")
