"""Reports in JUnit's format for CI services."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from xml.etree import ElementTree


@dataclass(frozen=True)
class Case:
    """One test of a report; `problem` is empty, `failure` or `error`."""

    classname: str
    name: str
    problem: str = ""
    message: str = ""
    properties: Mapping[str, str] = field(default_factory=dict)


def document(name: str, cases: Sequence[Case]) -> str:
    """The report of one suite."""
    counts = {
        "tests": len(cases),
        "failures": sum(case.problem == "failure" for case in cases),
        "errors": sum(case.problem == "error" for case in cases),
    }
    suites = ElementTree.Element("testsuites")
    attributes = {key: str(value) for key, value in counts.items()}
    suite = ElementTree.SubElement(suites, "testsuite", {"name": name, **attributes})
    for case in cases:
        element = ElementTree.SubElement(
            suite, "testcase", {"classname": case.classname, "name": case.name}
        )
        if case.properties:
            properties = ElementTree.SubElement(element, "properties")
            for key, value in case.properties.items():
                ElementTree.SubElement(properties, "property", name=key, value=value)
        if case.problem:
            ElementTree.SubElement(element, case.problem, message=case.message)
    return ElementTree.tostring(suites, encoding="unicode")


def merged(reports: Sequence[str]) -> str:
    """One report with the suites of several; each has `testsuites` as its root."""
    suites = ElementTree.Element("testsuites")
    for report in reports:
        suites.extend(ElementTree.fromstring(report))
    return ElementTree.tostring(suites, encoding="unicode")
