"""What people look for at the top of a repository."""

from __future__ import annotations

import hashlib
import tomllib

from tests.unit.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# The text of https://www.apache.org/licenses/LICENSE-2.0.txt, from its title to its appendix.
APACHE = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"


def test_the_licence_is_the_standard_text() -> None:
    """Tools that recognise licences compare whole texts, so nothing is filled in or added."""
    assert hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == APACHE
    assert (PROJECT["license"], PROJECT["license-files"]) == ("Apache-2.0", ["LICENSE"])
