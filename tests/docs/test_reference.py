"""What the docs take from the code is what the code says."""

import re

import pytest

from ash.config import OPTIONS, Settings, load
from ash.lifecycle import CHANGES
from tools.reference import PAGES, ROOT, diagram, example, write_all


def text(name):
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PAGES)
def test_page_is_up_to_date(name):
    """The file in the checkout is what `python tools/reference.py` writes."""
    assert PAGES[name](text(name)) == text(name)


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.field)
def test_reference_names_every_option(option):
    """Each key stands in the example and on the page, with its variable and its flag."""
    row = f"| `{option.field}` | `{option.env}` | `{option.flag}` |"

    assert f"\n#{option.field} = " in text("ash.toml.example")
    assert row in text("docs/configuration.md")


def test_reference_names_every_command():
    """Each command has a heading of its own."""
    page = text("docs/cli.md")

    for command in ("ash", "ashd", "ash deploy", "ash agent get", "ash session send", "ash demo"):
        assert f"\n## {command}\n" in page


def test_diagram_has_an_arrow_for_every_change():
    """No change is left out, and none is drawn twice."""
    lines = diagram().splitlines()

    assert diagram() in text("docs/lifecycle.md")
    for action, change in CHANGES.items():
        for source in change.sources:
            start = f"    {source} --> {change.target}: "
            (line,) = [line for line in lines if line.startswith(start)]
            assert action in line.removeprefix(start).split(", ")


def test_example_with_its_defaults_taken(tmp_path):
    """Taking the mark off every key that has a default changes nothing."""
    path = tmp_path / "ash.toml"
    path.write_text(re.sub(r'^#(\w+ = (?!""))', r"\1", example(), flags=re.MULTILINE))

    assert "\nport = 4100" in path.read_text()
    assert load(path, {}, {}) == Settings()


def test_write_keeps_the_page_around_the_marks(tmp_path):
    """Only what is between the marks is written anew."""
    (tmp_path / "docs").mkdir()
    for name in PAGES:
        (tmp_path / name).write_text("", encoding="utf-8")
    page = tmp_path / "docs" / "configuration.md"
    marks = re.findall(r"<!-- options.*?-->", text("docs/configuration.md"))
    page.write_text(f"before\n{marks[0]}\nold\n{marks[1]}\nafter\n", encoding="utf-8")

    write_all(tmp_path)

    written = page.read_text(encoding="utf-8")
    assert written.startswith("before\n")
    assert written.endswith("\nafter\n")
    assert "old\n" not in written
    assert "`data_dir`" in written
    assert (tmp_path / "docs" / "cli.md").read_text(encoding="utf-8").startswith("# Command line")
