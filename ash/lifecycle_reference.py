"""Writes the diagram and the table in docs/lifecycle.md from the table of changes.

Run as `python -m ash.lifecycle_reference` in the checkout; a test fails when they are behind.
"""

from pathlib import Path
from typing import get_args

from ash.lifecycle import CHANGES
from ash.model import SessionStatus

BEGIN = "<!-- changes: written by python -m ash.lifecycle_reference -->"
END = "<!-- changes end -->"


def with_changes(page: str) -> str:
    """The page with what stands between the marks made anew."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{diagram()}\n{_table()}{END}{after}"


def diagram() -> str:
    """A state diagram as Mermaid writes it; an arrow carries all actions that go its way."""
    arrows = {("[*]", "starting"): ["create"], ("[*]", "paused"): ["fork"]}
    for action, change in CHANGES.items():
        for source in change.sources:
            arrows.setdefault((source, change.target), []).append(action)
    lines = [f"    {a} --> {b}: {', '.join(how)}" for (a, b), how in arrows.items()]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "    ended --> [*]", "```", ""])


def write_lifecycle_page(root: Path) -> None:
    page = root / "docs" / "lifecycle.md"
    page.write_text(with_changes(page.read_text(encoding="utf-8")), encoding="utf-8")


def _table() -> str:
    head = f"| status | {' | '.join(CHANGES)} |\n|{'---|' * (len(CHANGES) + 1)}\n"
    return head + "".join(map(_row, get_args(SessionStatus)))


def _row(status: SessionStatus) -> str:
    cells = [
        f"`{change.target}`" if status in change.sources else "-" for change in CHANGES.values()
    ]
    return f"| `{status}` | {' | '.join(cells)} |\n"


if __name__ == "__main__":
    write_lifecycle_page(Path.cwd())
