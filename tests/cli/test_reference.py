"""docs/cli.md says what `--help` says."""

from pathlib import Path

from ash.cli import reference

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def test_reference_is_up_to_date():
    """The page in the checkout is what `python -m ash.cli.reference` writes."""
    assert reference.page() == PAGE.read_text(encoding="utf-8")


def test_reference_names_every_command():
    """Each command has a heading of its own."""
    text = reference.page()

    for command in ("ash", "ashd", "ash deploy", "ash agent get", "ash session send", "ash demo"):
        assert f"\n## {command}\n" in text
