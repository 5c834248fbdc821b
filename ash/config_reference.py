"""Writes `ash.toml.example` and the options in docs/configuration.md from the table.

Run as `python -m ash.config_reference` in the checkout; a test fails when they are behind.
"""

from pathlib import Path
from typing import Any

from ash.config import OPTIONS, Option

BEGIN = "<!-- options: written by python -m ash.config_reference -->"
END = "<!-- options end -->"

_EXAMPLE_HEAD = """\
# Settings of ashd. Every key is optional; the values shown are the defaults.
# The environment wins over this file, and flags win over both.
# Read from --config FILE, else ASH_CONFIG, else ./ash.toml.
"""


def example() -> str:
    """The whole of `ash.toml.example`."""
    return "\n".join([_EXAMPLE_HEAD, *map(_example_entry, OPTIONS)])


def with_options(page: str) -> str:
    """The page with what stands between the marks made anew."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{_markdown()}{END}{after}"


def write_config_pages(root: Path) -> None:
    (root / "ash.toml.example").write_text(example(), encoding="utf-8")
    page = root / "docs" / "configuration.md"
    page.write_text(with_options(page.read_text(encoding="utf-8")), encoding="utf-8")


def _example_entry(option: Option) -> str:
    rule = option.rule[0].upper() + option.rule[1:]
    return (
        f"# {option.help}\n"
        f"# {rule}. Environment: {option.env}. Flag: {option.flag}.\n"
        f"#{option.field} = {_toml(option.default)}\n"
    )


def _markdown() -> str:
    head = "| key | environment | flag | value | default | meaning |\n|---|---|---|---|---|---|\n"
    return head + "".join(map(_markdown_row, OPTIONS))


def _markdown_row(option: Option) -> str:
    default = "not set" if option.default is None else f"`{_toml(option.default)}`"
    meaning = option.help.replace("<", "&lt;").replace("|", "\\|")
    return (
        f"| `{option.field}` | `{option.env}` | `{option.flag}` "
        f"| {option.rule} | {default} | {meaning} |\n"
    )


def _toml(value: Any) -> str:
    """A default as TOML; those that have none are shown as an empty text."""
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


if __name__ == "__main__":
    write_config_pages(Path.cwd())
