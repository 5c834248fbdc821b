"""Writes docs/cli.md: the help of every command.

Run as `python -m ash.cli.reference` in the checkout; a test fails when the page is behind.
"""

from collections.abc import Iterator
from pathlib import Path

import click

from ash.cli import main
from ash.cli.ashd import main as ashd

_WIDTH = 88
_HEAD = """\
# Command line

Written by `python -m ash.cli.reference` from the commands' own help.

Every error is one line on stderr and an exit code that is not 0: 2 for wrong usage, 130 after
Ctrl-C, else 1.
"""


def page() -> str:
    """The whole of docs/cli.md."""
    return "\n".join([_HEAD, *_entries(main, "ash", None), *_entries(ashd, "ashd", None)])


def _entries(command: click.Command, name: str, parent: click.Context | None) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=parent, terminal_width=_WIDTH)
    yield f"## {context.command_path}\n\n```\n{context.get_help()}\n```\n"
    if isinstance(command, click.Group):
        for child, inner in sorted(command.commands.items()):
            yield from _entries(inner, child, context)


if __name__ == "__main__":
    (Path.cwd() / "docs" / "cli.md").write_text(page(), encoding="utf-8")
