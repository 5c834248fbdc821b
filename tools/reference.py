"""Writes what the docs take from the code: settings, state machine, command line.

`python tools/reference.py` writes `ash.toml.example`, docs/cli.md, and the marked parts of
docs/configuration.md and docs/lifecycle.md. `tests/docs/test_reference.py` fails when one of them
is out of date.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import click

from ash.cli import main
from ash.cli.ashd import main as ashd
from ash.config import OPTIONS, Option
from ash.lifecycle import CHANGES
from ash.model import SessionStatus

ROOT = Path(__file__).parents[1]

# The width of a command's help, so that it fits into a page.
WIDTH = 88

EXAMPLE_HEAD = """\
# Settings of ashd. Every key is optional; the values shown are the defaults.
# The environment wins over this file, and flags win over both.
# Read from --config FILE, else ASH_CONFIG, else ./ash.toml.
"""

COMMANDS_HEAD = """\
# Command line

Written by `python tools/reference.py` from the commands' own help.

Every error is one line on stderr and an exit code that is not 0: 2 for wrong usage, 130 after
Ctrl-C, else 1.
"""


def write_all(root: Path) -> None:
    for name, make in PAGES.items():
        path = root / name
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        path.write_text(make(old), encoding="utf-8")


def between_marks(page: str, name: str, part: str) -> str:
    """The page with `part` in place of what stands between its two marks."""
    begin, end = f"<!-- {name}: written by tools/reference.py -->", f"<!-- {name} end -->"
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n{part}{end}{after}"


def example() -> str:
    """The whole of `ash.toml.example`."""
    return "\n".join([EXAMPLE_HEAD, *map(_example_entry, OPTIONS)])


def _example_entry(option: Option) -> str:
    rule = option.rule[0].upper() + option.rule[1:]
    return (
        f"# {option.help}\n"
        f"# {rule}. Environment: {option.env}. Flag: {option.flag}.\n"
        f"#{option.field} = {_toml(option.default)}\n"
    )


def options() -> str:
    """The table of settings in docs/configuration.md."""
    head = "| key | environment | flag | value | default | meaning |\n|---|---|---|---|---|---|\n"
    return head + "".join(map(_option_row, OPTIONS))


def _option_row(option: Option) -> str:
    default = "not set" if option.default is None else f"`{_toml(option.default)}`"
    meaning = option.help.replace("<", "&lt;").replace("|", "\\|")
    return (
        f"| `{option.field}` | `{option.env}` | `{option.flag}` "
        f"| {option.rule} | {default} | {meaning} |\n"
    )


def _toml(value: Any) -> str:
    """A default as TOML; an empty text where there is none."""
    if value is None:
        return '""'
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return f"{value:g}"
    return f'"{value}"'


def changes() -> str:
    """The diagram and the table of docs/lifecycle.md."""
    head = f"| status | {' | '.join(CHANGES)} |\n|{'---|' * (len(CHANGES) + 1)}\n"
    return f"{diagram()}\n{head}" + "".join(map(_status_row, get_args(SessionStatus)))


def diagram() -> str:
    """A state diagram in Mermaid's language; an arrow names all actions that it stands for."""
    arrows = {("[*]", "starting"): ["create"], ("[*]", "paused"): ["fork"]}
    for action, change in CHANGES.items():
        for source in change.sources:
            arrows.setdefault((source, change.target), []).append(action)
    lines = [f"    {a} --> {b}: {', '.join(how)}" for (a, b), how in arrows.items()]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "    ended --> [*]", "```", ""])


def _status_row(status: SessionStatus) -> str:
    cells = [
        f"`{change.target}`" if status in change.sources else "-" for change in CHANGES.values()
    ]
    return f"| `{status}` | {' | '.join(cells)} |\n"


def commands() -> str:
    """The whole of docs/cli.md."""
    return "\n".join([COMMANDS_HEAD, *_help(main, "ash", None), *_help(ashd, "ashd", None)])


def _help(command: click.Command, name: str, parent: click.Context | None) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=parent, terminal_width=WIDTH)
    yield f"## {context.command_path}\n\n```\n{context.get_help()}\n```\n"
    if isinstance(command, click.Group):
        for child, inner in sorted(command.commands.items()):
            yield from _help(inner, child, context)


# Each page, and what makes it from what it was.
PAGES: dict[str, Callable[[str], str]] = {
    "ash.toml.example": lambda _: example(),
    "docs/cli.md": lambda _: commands(),
    "docs/configuration.md": lambda page: between_marks(page, "options", options()),
    "docs/lifecycle.md": lambda page: between_marks(page, "changes", changes()),
}


if __name__ == "__main__":
    write_all(ROOT)
