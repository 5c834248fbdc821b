from typing import Literal

from msgspec import Struct

Severity = Literal["error", "warning"]


class Finding(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One fault of a folder. `line` and `column` begin at 1.

    An `error` means that the agent would run without something that it relies on, such as a guard.
    """

    severity: Severity
    path: str
    line: int | None = None
    column: int | None = None
    message: str

    def __str__(self) -> str:
        place = "" if self.line is None else f":{self.line}:{self.column}"
        return f"{self.path}{place}: {self.message}"


class Report:
    """Collects findings."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []

    def add(
        self, severity: Severity, path: str, message: str, *, line: int = 1, column: int = 1
    ) -> None:
        self.findings.append(
            Finding(severity=severity, path=path, line=line, column=column, message=message)
        )


class FileReport:
    """Collects findings about one text; `at` is an index in it."""

    def __init__(self, report: Report, path: str, text: str) -> None:
        self.path = path
        self._report = report
        self._text = text

    def add(self, severity: Severity, at: int, message: str) -> None:
        line = self._text.count("\n", 0, at) + 1
        column = at - self._text.rfind("\n", 0, at)
        self._report.add(severity, self.path, message, line=line, column=column)

    def error(self, at: int, message: str) -> None:
        self.add("error", at, message)

    def warning(self, at: int, message: str) -> None:
        self.add("warning", at, message)
