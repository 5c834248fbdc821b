"""The example and the docs page say what the table of options says."""

import re
from pathlib import Path

import pytest

from ash.config import OPTIONS, Settings, load
from ash.config_reference import example, with_options, write_config_pages

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.field)
def test_reference_names_every_option(option):
    """Each key stands in the example and on the page, with its variable and its flag."""
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    text = (ROOT / "ash.toml.example").read_text(encoding="utf-8")

    assert f"\n#{option.field} = " in text
    assert f"| `{option.field}` | `{option.env}` | `{option.flag}` |" in page


def test_reference_is_up_to_date():
    """The files in the checkout are what `python -m ash.config_reference` writes."""
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")

    assert example() == (ROOT / "ash.toml.example").read_text(encoding="utf-8")
    assert with_options(page) == page


def test_example_with_its_defaults_taken(tmp_path):
    """Taking the mark off every key that has a default changes nothing."""
    path = tmp_path / "ash.toml"
    path.write_text(re.sub(r'^#(\w+ = (?!""))', r"\1", example(), flags=re.MULTILINE))

    assert "\nport = 4100" in path.read_text()
    assert load(path, {}, {}) == Settings()


def test_write_keeps_the_page_around_the_options(tmp_path):
    """Only what is between the marks is written anew."""
    (tmp_path / "docs").mkdir()
    page = tmp_path / "docs" / "configuration.md"
    marks = re.findall(r"<!-- options.*?-->", with_options(""))
    page.write_text(f"before\n{marks[0]}\nold\n{marks[1]}\nafter\n", encoding="utf-8")

    write_config_pages(tmp_path)

    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old\n" not in text
    assert "`data_dir`" in text
