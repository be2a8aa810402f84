"""What lint has found, as text, as JSON and as an exit code."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from lab.errors import ChecksFailed, answered
from lab.lint.rule import ERROR, WARNING

# Characters of a sentence: it quotes what it is about, however long that is.
MOST_OF_A_SENTENCE = 400


def _shown(text: str) -> str:
    """A sentence for a terminal, which must take nothing in it for an order."""
    return "".join(
        letter if letter.isprintable() else f"\\u{ord(letter):04x}"
        for letter in text[:MOST_OF_A_SENTENCE]
    )


@dataclass(frozen=True)
class Finding:
    """One mistake: where it stands, its rule's code and severity, what is wrong and what to do."""

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
    """All findings in the order of files and lines; `repaired` are the files that were changed.

    `kubernetes` is the version whose fields were checked; empty when they were not. `left_out` is
    how many files more were found, which are other programs'.
    """

    files: int
    findings: tuple[Finding, ...]
    repaired: tuple[str, ...] = ()
    kubernetes: str = ""
    left_out: int = 0

    def text(self) -> str:
        """The findings, what each code is about, and a line that sums them up."""
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
        """Raise ChecksFailed when there is an error among the findings; warnings are none."""
        if errors := self._count(ERROR):
            message = f"{errors} error(s) in {self.files} file(s)"
            raise answered(ChecksFailed(message, hint="docs/lint.md explains every code"))

    def _count(self, severity: str) -> int:
        return sum(item.severity == severity for item in self.findings)
