"""When a lab is the one that lab-up made."""

from __future__ import annotations

from dataclasses import replace

from lab.config import Lab
from lab.lifecycle import bringup


def test_a_lab_is_its_values_wherever_they_came_from(lab: Lab) -> None:
    typed = replace(lab, origins={"machines.workers": "flag"})
    remembered = replace(lab, origins={"machines.workers": "default"})
    assert bringup.fingerprint(typed) == bringup.fingerprint(remembered)
    assert bringup.fingerprint(typed) != bringup.fingerprint(replace(lab, workers=1))
