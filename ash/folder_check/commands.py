"""Finds out why a command can't run, as far as its files tell."""

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import PurePosixPath

from msgspec import Struct

from ash.folder_check.folder import Folder
from ash.folder_check.surroundings import Surroundings

# What the folder is called in commands.
_ROOT = re.compile(r"\$\{?CLAUDE_PROJECT_DIR\}?/*|/workspace/+")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
_SHELLS = frozenset(("bash", "dash", "sh"))
_INTERPRETERS = _SHELLS | {"bun", "node", "perl", "python", "python3", "ruby"}
# Programs that start the program that follows.
_STARTERS = frozenset(("command", "exec", "nice", "time"))
_SHELL_WORDS = (
    "! . : [ [[ { alias case cd command echo eval exec exit export false for getopts hash if kill"
    " printf pwd read readonly return set shift source test times trap true type ulimit umask"
    " unalias unset until wait while"
)
_BUILTINS = frozenset(_SHELL_WORDS.split())
_SEPARATORS = frozenset(";&|<>()")
# A longer command is a program of its own, and slow to take apart.
_LONG = 10_000
_SHEBANG_BYTES = 256
_SCRIPT_BYTES = 256 * 1024


class Fault(Struct, frozen=True):
    """Why a command can't run; not `certain` if install.sh may bring what is missing."""

    text: str
    certain: bool = True


def shell_words(command: str) -> list[str]:
    """The words of a shell command. Raises ValueError if its quotes do not end."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    return list(lexer)


def path_in_folder(word: str, *, bare: bool = True) -> str | None:
    """The path within the folder that a word of a command names; None if it names none.

    A word without a slash is a path only if `bare`: as a command it is a program.
    """
    path = f"./{word[match.end() :]}" if (match := _ROOT.match(word)) else word
    if "$" in path or "`" in path or path.startswith(("/", "~")) or not (bare or "/" in path):
        return None
    return os.path.normpath(path)


class CommandChecker:
    def __init__(self, folder: Folder, around: Surroundings) -> None:
        self._folder = folder
        self._around = around
        self._installs = folder.has("install.sh")

    def in_shell(self, command: str) -> Fault | None:
        """Looks at the first program of a command line for a shell; the rest is not read."""
        if len(command) > _LONG:
            return None
        try:
            words = shell_words(command)
        except ValueError:
            return Fault("its quotes do not end")
        while words and (_ASSIGNMENT.fullmatch(words[0]) or words[0] in _STARTERS):
            words.pop(0)
        ends = (index for index, word in enumerate(words) if _SEPARATORS.issuperset(word))
        words = words[: next(ends, len(words))]
        if not words or words[0].isdecimal() or words[0] in _BUILTINS:
            return None
        return self.program(words[0], words[1:])

    def program(self, program: str, args: Sequence[str]) -> Fault | None:
        path = path_in_folder(program, bare=False)
        if path is not None:
            return self._script(path, started_by=None)
        if "$" in program or program.startswith("~") or "`" in program:
            return None
        if not self._around.has_program(program):
            return self._missing(program)
        name = PurePosixPath(program).name
        if name not in _INTERPRETERS:
            return None
        script = next((arg for arg in args if not arg.startswith("-")), None)
        if script is None or args[0] in {"-c", "-m", "-e"}:
            return None
        path = path_in_folder(script)
        return self._script(path, started_by=name) if path is not None else None

    def _missing(self, program: str) -> Fault:
        text = f"there is no program {program} in a sandbox"
        return Fault(
            f"{text}, unless install.sh brings it" if self._installs else text,
            certain=not self._installs,
        )

    def _script(self, path: str, *, started_by: str | None) -> Fault | None:
        data = self._folder.head(path, _SCRIPT_BYTES)
        if data is None:
            return self._no_file(path)
        first, _, _ = data.partition(b"\n")
        has_interpreter = data.startswith(b"#!")
        if started_by is None:
            real = self._folder.resolve(path)
            if real is not None and not real.stat().st_mode & 0o111:
                return Fault(f"{path} is not executable (chmod +x {path})")
            if has_interpreter:
                return self._interpreter(path, first[:_SHEBANG_BYTES])
        elif started_by in _SHELLS and b"\r\n" in data:
            return Fault(f"{path} has Windows line ends (CRLF), which {started_by} can't read")
        return None

    def _no_file(self, path: str) -> Fault:
        rebuilt = {".venv", "node_modules"} & set(PurePosixPath(path).parts)
        if self._installs or rebuilt:
            return Fault(
                f"there is no file {path}, unless install.sh makes it", certain=not self._installs
            )
        return Fault(f"there is no file {path}")

    def _interpreter(self, path: str, first: bytes) -> Fault | None:
        if first.endswith(b"\r"):
            return Fault(f"{path} has Windows line ends (CRLF), so its #! line names no program")
        words = first[2:].decode(errors="replace").split()
        if not words:
            return None
        program = words[0]
        if PurePosixPath(program).name == "env":
            named = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
            program = named[0] if named else program
        if self._around.has_program(program):
            return None
        fault = self._missing(program)
        return Fault(f"{path} needs {program}, and {fault.text}", fault.certain)
