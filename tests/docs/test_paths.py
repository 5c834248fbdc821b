"""The pages name files that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Where the bridge is in a wheel; see docs/decisions/0016-bridge.md.
IN_THE_WHEEL = {"ash/inside", "ash/inside/bridge"}
PAGES = sorted(
    path.relative_to(ROOT)
    for path in (ROOT / "README.md", ROOT / "AGENTS.md", *(ROOT / "docs").rglob("*.md"))
)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_files_that_a_page_names_exist(page):
    """A file or folder of the repository that a page names in backticks is there."""
    named = re.findall(
        r"`((?:ash|bridge|tests|bench|tools|examples|docs)/[\w./-]+)`",
        (ROOT / page).read_text(encoding="utf-8"),
    )
    assert [] == [path for path in {*named} - IN_THE_WHEEL if not (ROOT / path).exists()]


def test_message_takes_twenty_hops_at_most():
    """The table in how-it-works.md follows a message to the engine and back in 20 hops or fewer."""
    page = (ROOT / "docs/how-it-works.md").read_text(encoding="utf-8")
    hops = [int(number) for number in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)]
    assert list(range(1, len(hops) + 1)) == hops
    assert 20 >= len(hops)
