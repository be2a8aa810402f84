"""Write the documentation of the codes from the rules: `python -m lab.lint.docs`."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from lab.lint.rule import Rule
from lab.lint.rules import RULES

BEGIN = "<!-- made by lab/lint/docs.py -->\n"
END = "<!-- end -->\n"


def page(rule: Rule) -> str:
    """The Markdown page of one code."""
    parts = [f"# {rule.code}", f"**{rule.title}** ({rule.severity})", rule.concept]
    if rule.bad:
        parts += ["Wrong:", _code(rule.bad)]
    parts.append(f"What to do: {rule.fix}.")
    if rule.good:
        parts += ["Right:", _code(rule.good)]
    if rule.repairs:
        parts.append("`invoke lint --fix` repairs it if only one repair is right.")
    return BEGIN + "\n\n".join([*parts, "[All codes](../lint.md)"]) + "\n"


def table() -> str:
    """The Markdown table of all codes: severity, title, and whether --fix repairs it."""
    rows = [
        f"| [{rule.code}](lint/{rule.code}.md) | {rule.severity} | {rule.title} | "
        f"{'yes' if rule.repairs else ''} |"
        for rule in RULES.values()
    ]
    return "\n".join(["| code | severity | | `--fix` |", "|---|---|---|---|", *rows, ""])


def write(root: Path) -> None:
    """Write every page into docs/lint/ of the checkout `root`, and the table into docs/lint.md."""
    overview = root / "docs" / "lint.md"
    before, _, rest = overview.read_text().partition(BEGIN)
    overview.write_text(before + BEGIN + table() + END + rest.partition(END)[2])
    folder = root / "docs" / "lint"
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.md"):
        old.unlink()
    for rule in RULES.values():
        (folder / f"{rule.code}.md").write_text(page(rule))


def _code(example: str) -> str:
    """An example as a code block. Invisible characters become their code points."""
    shown = "".join(
        f"<U+{ord(letter):04X}>"
        if letter != "\n" and unicodedata.category(letter) in ("Cc", "Cf", "Zs") and letter != " "
        else letter
        for letter in example
    )
    return f"```yaml\n{shown}```"


if __name__ == "__main__":
    write(Path(__file__).resolve().parents[2])
