"""Commands that the scripted engine runs in the background, and the CLI's messages about them."""

from collections import deque
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import trio
from msgspec import Struct, field

from ash import script
from bridge import scripted_tools
from bridge.scripted_tools import ToolOutcome


def _task_id() -> str:
    return f"b{uuid4().hex[:8]}"


class ScriptedTask(Struct):
    """One command. `tool_use_id` is that of the call that has started it."""

    command: str
    description: str
    tool_use_id: str
    id: str = field(default_factory=_task_id)
    failed: bool = False


class ScriptedBackground:
    """Runs commands in `nursery` until the conversation is closed.

    `ended` are those whose end the engine has still to report, in a turn that it begins by itself.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self.ended: deque[ScriptedTask] = deque()
        self.on_own_turn: Callable[[], None] | None = None
        self.on_tasks: Callable[[list[str]], None] | None = None
        self._nursery = nursery
        self._running: list[ScriptedTask] = []

    def start(self, call: script.Use, tool_use_id: str) -> ScriptedTask:
        command = call.input["command"]
        description = call.input.get("description", command)
        task = ScriptedTask(command, description, tool_use_id)
        self._running.append(task)
        self._changed()
        self._nursery.start_soon(self._run, task)
        return task

    def listing(self) -> dict[str, Any]:
        """The message that says what runs."""
        tasks = [
            {"task_id": task.id, "task_type": "local_bash", "description": task.description}
            for task in self._running
        ]
        return _system("background_tasks_changed", tasks=tasks)

    async def _run(self, task: ScriptedTask) -> None:
        outcome = await scripted_tools.bash(task.command)
        task.failed = bool(outcome.is_error)
        self._running.remove(task)
        self.ended.append(task)
        self._changed()
        if self.on_own_turn is not None:
            self.on_own_turn()

    def _changed(self) -> None:
        if self.on_tasks is not None:
            self.on_tasks([task.description for task in self._running])


def started(task: ScriptedTask) -> dict[str, Any]:
    return _system(
        "task_started",
        task_id=task.id,
        tool_use_id=task.tool_use_id,
        description=task.description,
        is_backgrounded=True,
        task_type="local_bash",
    )


def ended(task: ScriptedTask) -> dict[str, Any]:
    how = "failed" if task.failed else "completed"
    return _system(
        "task_notification",
        task_id=task.id,
        tool_use_id=task.tool_use_id,
        status=how,
        summary=f'Background command "{task.description}" {how}',
    )


def outcome(task: ScriptedTask) -> ToolOutcome:
    """The answer of the tool that has started it."""
    text = f"Command running in background with ID: {task.id}."
    detail = {"stdout": "", "stderr": "", "interrupted": False, "isImage": False}
    detail |= {"noOutputExpected": False, "backgroundTaskId": task.id}
    return ToolOutcome(text, detail, is_error=False)


def _system(subtype: str, **fields: Any) -> dict[str, Any]:
    return {"type": "system", "subtype": subtype, **fields}
