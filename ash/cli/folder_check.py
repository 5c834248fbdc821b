"""Prints what a check of a folder found, as compilers do."""

import click
import msgspec

from ash.cli.output import one_line, print_json
from ash.model import Finding, FolderCheck


def print_check(check: FolderCheck, *, as_json: bool) -> None:
    """One line for each finding, then their count; or all as JSON."""
    if as_json:
        print_json(msgspec.to_builtins(check))
        return
    for finding in check.findings:
        click.echo(one_line(_line(finding)))
    errors = sum(finding.severity == "error" for finding in check.findings)
    warnings = len(check.findings) - errors
    click.echo(f"{_count(errors, 'error')}, {_count(warnings, 'warning')}", err=True)


def _line(finding: Finding) -> str:
    """An error as it is; a warning says that it is one."""
    if finding.severity == "error":
        return str(finding)
    place = str(finding).removesuffix(finding.message)
    return f"{place}warning: {finding.message}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
