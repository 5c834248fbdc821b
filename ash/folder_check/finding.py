from collections import Counter
from collections.abc import Sequence

from ash.file_names import spelled
from ash.model import Finding, Severity


def errors(findings: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.severity == "error"]


# Of each severity. Nobody reads more, and a hostile folder may have millions.
MOST = 100


class Report:
    """Collects findings, the first MOST of each severity."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self._counts: Counter[Severity] = Counter()

    def wants(self, severity: Severity, path: str, message: str) -> bool:
        """Whether a finding about a text is worth the search for its line."""
        return self._counts[severity] < MOST

    def add(
        self, severity: Severity, path: str, message: str, *, line: int = 1, column: int = 1
    ) -> None:
        self._counts[severity] += 1
        self.findings.append(
            Finding(
                severity=severity, path=spelled(path), line=line, column=column, message=message
            )
        )


class FileReport:
    """Collects findings about one text; `at` is an index in it."""

    def __init__(self, report: Report, path: str, text: str) -> None:
        self.path = path
        self._report = report
        self._text = text

    def add(self, severity: Severity, at: int, message: str) -> None:
        if not self._report.wants(severity, self.path, message):
            return
        line = self._text.count("\n", 0, at) + 1
        column = at - self._text.rfind("\n", 0, at)
        self._report.add(severity, self.path, message, line=line, column=column)

    def to(self, report: Report) -> "FileReport":
        """The same text, for another report."""
        return FileReport(report, self.path, self._text)

    def error(self, at: int, message: str) -> None:
        self.add("error", at, message)

    def warning(self, at: int, message: str) -> None:
        self.add("warning", at, message)
