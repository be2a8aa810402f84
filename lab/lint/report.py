"""The findings of lint as text, as JSON and as an exit code."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from lab.errors import ChecksFailed, answered
from lab.lint.rule import ERROR, WARNING

# The most characters of a message, which may quote a very long text.
MOST_OF_A_SENTENCE = 400


def _shown(text: str) -> str:
    """A message for a terminal: short, and without control characters."""
    return "".join(
        letter if letter.isprintable() else f"\\u{ord(letter):04x}"
        for letter in text[:MOST_OF_A_SENTENCE]
    )


@dataclass(frozen=True)
class Finding:
    """One mistake: its position, its rule's code and severity, the message and the fix.

    `line` and `column` count from one. `fixable` means that `--fix` repairs it.
    """

    file: str
    line: int
    column: int
    severity: str
    code: str
    message: str
    fix: str
    concept: str
    fixable: bool

    def text(self) -> str:
        """The finding in two lines."""
        place = f"{self.file}:{self.line}:{self.column}"
        message, fix = _shown(self.message), _shown(self.fix)
        return f"{place}: {self.severity} {self.code}: {message}\n    fix: {fix}"


@dataclass(frozen=True)
class Report:
    """All findings in the order of files and lines.

    `repaired` has the files that `--fix` changed. `kubernetes` is the version of the schema, empty
    without one. `left_out` is the number of other programs' files, which `files` does not count.
    """

    files: int
    findings: tuple[Finding, ...]
    repaired: tuple[str, ...] = ()
    kubernetes: str = ""
    left_out: int = 0

    def text(self) -> str:
        """The findings, the concept of each code, and a line with the totals."""
        concepts = {item.code: item.concept for item in self.findings}
        lines = [item.text() for item in self.findings]
        lines += [f"repaired: {name}" for name in self.repaired]
        if self.left_out:
            lines.append(f"left out: {self.left_out} file(s) of other programs")
        lines += (
            ["", *(f"{code}: {text}" for code, text in concepts.items()), ""] if concepts else []
        )
        fixable = sum(item.fixable for item in self.findings)
        more = f"; --fix repairs {fixable} of them" if fixable else ""
        counts = f"{self._count(ERROR)} error(s), {self._count(WARNING)} warning(s)"
        checked = f", Kubernetes {self.kubernetes}" if self.kubernetes else ""
        return "\n".join([*lines, f"{self.files} file(s){checked}: {counts}{more}"])

    def data(self) -> dict[str, object]:
        """The report for a JSON document."""
        return {
            "files": self.files,
            "errors": self._count(ERROR),
            "warnings": self._count(WARNING),
            "kubernetes": self.kubernetes or None,
            "repaired": list(self.repaired),
            "left_out": self.left_out,
            "findings": [asdict(item) for item in self.findings],
        }

    def raise_for_status(self) -> None:
        """Raise ChecksFailed if a finding is an error. Warnings do not count."""
        if errors := self._count(ERROR):
            message = f"{errors} error(s) in {self.files} file(s)"
            raise answered(ChecksFailed(message, hint="docs/lint.md explains every code"))

    def _count(self, severity: str) -> int:
        return sum(item.severity == severity for item in self.findings)
