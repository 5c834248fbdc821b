"""Writes the program through which the CLI runs commands: hooks get a runner of ours.

The CLI puts CLAUDE_CODE_SHELL_PREFIX before each shell command: of hooks, of its Bash tool, and of
MCP servers. Only hooks have both CLAUDE_PID and CLAUDE_PROJECT_DIR in their environment, unless a
hook starts another CLI: the Bash tool of that one is told by AI_AGENT.
"""

import os
import shlex
import sys
from pathlib import Path

PREFIX = "CLAUDE_CODE_SHELL_PREFIX"

# Seconds for a hook that has no timeout of its own, and for one that holds the session's start.
HOOK_TIMEOUT, START_HOOK_TIMEOUT = "ASH_HOOK_TIMEOUT", "ASH_START_HOOK_TIMEOUT"

_SCRIPT = """\
#!/bin/sh
case $AI_AGENT in *_agent) exec {shell} "$1" ;; esac
if [ -n "$CLAUDE_PID" ] && [ -n "$CLAUDE_PROJECT_DIR" ]; then
  exec {runner} "$1"
fi
exec {shell} "$1"
"""


def write(folder: Path) -> dict[str, str]:
    """The variable that names the program, for the CLI's environment."""
    own = os.environ.get(PREFIX, "")
    bounds = [os.environ.get(HOOK_TIMEOUT, "60"), os.environ.get(START_HOOK_TIMEOUT, "30")]
    runner = Path(__file__).with_name("hook_runner.py")
    words = [sys.executable, "-I", "-S", str(runner), *bounds, own]
    shell = shlex.quote(own) if own else "/bin/bash -c"
    program = folder / "run-command"
    program.write_text(_SCRIPT.format(runner=shlex.join(words), shell=shell))
    program.chmod(0o755)
    return {PREFIX: str(program)}
