"""Every rule by its code, in the order in which a user best corrects mistakes."""

from __future__ import annotations

from collections.abc import Mapping

from lab.lint import server
from lab.lint.rule import Rule
from lab.lint.rules import fields, pods, relations, text

RULES: Mapping[str, Rule] = {
    item.code: item
    for module in (text, fields, relations, pods, server)
    for item in vars(module).values()
    if isinstance(item, Rule)
}
