"""The CLI's tools Bash and Write, as far as the scripted engine needs them."""

from pathlib import Path
from typing import Any

import trio
from msgspec import Struct

from ash.protocol import Exec
from bridge.shell import run_shell

# The CLI, too, shows the model at most this many characters of a command's output.
_SHOWN = 30_000
# The CLI's own maximum.
_LONGEST_MS = 600_000


class ToolOutcome(Struct):
    """A tool's answer: `content` is for the model, `detail` for the CLI's user.

    `is_error` is None where the CLI leaves the field out.
    """

    content: str
    detail: dict[str, Any] | str
    is_error: bool | None = None
    was_run: bool = True


async def bash(command: str) -> ToolOutcome:
    """Runs a command in the current directory; a cancel kills the command's process group."""
    joined = f"exec 2>&1\n{command}"
    try:
        ran = await run_shell(Exec(command=joined, timeout=_LONGEST_MS))
    except (OSError, ValueError) as error:
        return _failed(str(error))
    text = ran.stdout[:_SHOWN].rstrip()
    if ran.exit_code:
        return _failed(f"Exit code {ran.exit_code}\n{text}".rstrip())
    detail = {"stdout": text, "stderr": "", "interrupted": False}
    detail |= {"isImage": False, "noOutputExpected": False}
    return ToolOutcome(text or "(Bash completed with no output)", detail, is_error=False)


async def write(path: str, text: str, *, workspace: Path) -> ToolOutcome:
    """Writes a file, making missing folders; refuses paths that lead out of the workspace."""
    return await trio.to_thread.run_sync(_write, workspace / path, text, workspace)


def _write(target: Path, text: str, workspace: Path) -> ToolOutcome:
    try:
        if not target.resolve().is_relative_to(workspace.resolve()):
            return _refused(f"{target} is outside of the workspace.")
        if target.is_dir():
            return _refused(
                f"{target} is a directory, not a file. "
                "To create a file inside it, include the file name in file_path."
            )
        old = target.read_bytes().decode(errors="replace") if target.exists() else None
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text.encode())
    except (OSError, ValueError) as error:
        return _failed(str(error))
    said = "File created successfully at: {}" if old is None else "The file {} has been updated"
    said = said.format(target) + ("" if old is None else " successfully.")
    detail = {
        "type": "create" if old is None else "update",
        "filePath": str(target),
        "content": text,
        "structuredPatch": [] if old is None else [_patch(old, text)],
        "originalFile": old,
        "userModified": False,
    }
    note = " (file state is current in your context — no need to Read it back)"
    return ToolOutcome(said + note, detail)


def _patch(old: str, new: str) -> dict[str, Any]:
    """A patch of one hunk that replaces all lines; correct, though not the shortest."""
    gone, come = old.splitlines(), new.splitlines()
    return {
        "oldStart": 1,
        "oldLines": len(gone),
        "newStart": 1,
        "newLines": len(come),
        "lines": [*(f"-{line}" for line in gone), *(f"+{line}" for line in come)],
    }


def _failed(text: str) -> ToolOutcome:
    return ToolOutcome(text, f"Error: {text}", is_error=True)


def _refused(text: str) -> ToolOutcome:
    wrapped = f"<tool_use_error>{text}</tool_use_error>"
    return ToolOutcome(wrapped, f"Error: {text}", is_error=True, was_run=False)
