"""The rules and the repairs. The examples of every rule are tests, too."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest

from lab import lint as linter
from lab.config import Lab
from lab.errors import ChecksFailed, ConfigError, ResourceError
from lab.exercises import catalogue
from lab.lint import docs, fix, schema, server
from lab.lint.report import Finding, Report
from lab.lint.rule import ERROR, Rule
from lab.lint.rules import RULES
from lab.lint.rules.pods import ends_at_once, split_image
from lab.lint.rules.relations import quantity
from lab.lint.source import Source, decode
from lab.output import Status
from tests.unit.conftest import ROOT
from tests.unit.lint import swagger

SCHEMA = swagger.schema()
EXAMPLES = [rule for rule in RULES.values() if rule.bad]
# Typographic single quotes.
L, R = "\u2018\u2019"
LECTURE = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: hello-deployment
  labels:
    app: hello-d
spec:
  replicas: 3
  selector:
    matchLabels:
      app: hello-d
  template:
    metadata:
      labels:
        app: hello-d
    spec:
      spec:
        containers:
          - name: myapp-container
            image: busybox
            # the slide's own words
            command: ['sh', '-c', 'echo Hello Kubernetes! I am updated!! && sleep 3600']
"""
SERVICE = """\
---
apiVersion: v1
kind: Service
metadata:
  name: my-service
spec:
  selector:
    app: hello-d
  ports:
    - protocol: TCP
      port: 80
      targetPort: 9376
"""
NAMESPACE = "apiVersion: v1\nkind: Namespace\n"
POD = """\
apiVersion: v1
kind: Pod
metadata:
  name: myapp-pod
  labels:
    app: myapp
spec:
  containers:
  - name: myapp-container
    image: busybox
    command: ['sh', '-c', 'echo Hello Kubernetes! && sleep 3600']
"""


def found(*texts: str, known: schema.Schema | None = SCHEMA) -> list[Finding]:
    given = linter.look([Source(f"{i}.yaml", text) for i, text in enumerate(texts)], known)
    return list(linter.findings(given))


def codes(*texts: str, known: schema.Schema | None = SCHEMA) -> set[str]:
    return {item.code for item in found(*texts, known=known)}


def errors(*texts: str) -> list[tuple[str, int, int]]:
    return [(item.code, item.line, item.column) for item in found(*texts) if item.severity == ERROR]


def repaired(text: str) -> str:
    return linter.repair(Source("x.yaml", text), SCHEMA).text


# ---------------------------------------------------------------- every rule, by its examples


@pytest.mark.parametrize("rule", EXAMPLES, ids=lambda rule: rule.code)
def test_only_the_bad_example_of_a_rule_has_its_code(rule: Rule) -> None:
    assert rule.code in codes(rule.bad)
    assert rule.code not in codes(rule.good)


@pytest.mark.parametrize("rule", EXAMPLES, ids=lambda rule: rule.code)
def test_a_repair_removes_the_code(rule: Rule) -> None:
    marked = [item.fixable for item in found(rule.bad) if item.code == rule.code]
    text = repaired(rule.bad)
    if all(marked):
        assert rule.code not in codes(text)
    assert repaired(text) == text
    if not any(item.fixable for item in found(rule.bad)):
        assert text == rule.bad


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.code)
def test_every_page_matches_its_rule(rule: Rule) -> None:
    assert (ROOT / "docs" / "lint" / f"{rule.code}.md").read_text() == docs.page(rule)


def test_the_table_has_every_code_and_no_page_is_left_over() -> None:
    assert docs.BEGIN + docs.table() + docs.END in (ROOT / "docs/lint.md").read_text()
    assert {path.stem for path in (ROOT / "docs/lint").iterdir()} == set(RULES)


# ---------------------------------------------------------------- the lecture


def test_the_second_spec_of_the_lectures_deployment_is_found_and_repaired() -> None:
    assert errors(LECTURE) == [("doubled-field", 17, 7)]
    text = repaired(LECTURE)
    assert errors(text) == []
    assert "    spec:\n      containers:\n        - name: myapp-container\n" in text
    assert "          # the slide's own words\n          command: ['sh', '-c'," in text
    assert len(text.splitlines()) == len(LECTURE.splitlines()) - 1


def test_the_lectures_pod_needs_a_version_and_requests() -> None:
    assert codes(POD) == {"unpinned-image", "missing-requests"}


def test_the_lectures_service_has_a_port_that_no_container_declares() -> None:
    assert codes(SERVICE) == set()
    (port,) = [i for i in found(repaired(LECTURE) + SERVICE) if i.code == "service-port"]
    assert "9376" in port.message and port.line == 33


def test_a_capital_kind_with_the_wrong_version_is_repaired() -> None:
    text = "apiVersion: v1\nKind: Deployment\nmetadata:\n  name: web\n"
    assert {"wrong-case", "unknown-kind"} <= codes(text)
    assert repaired(text).startswith("apiVersion: apps/v1\nkind: Deployment\n")


@pytest.mark.parametrize("exercise", catalogue.discover(ROOT), ids=lambda item: item.name)
def test_the_exercises_own_manifests_have_no_errors(exercise: catalogue.Exercise) -> None:
    paths = sorted(exercise.folder.glob("manifests/*.yaml"))
    assert paths
    sources = [Source(path.name, path.read_text()) for path in paths]
    # No schema, so fields are not checked: the whole document is too large for a unit test.
    findings = linter.findings(linter.look(sources, None))
    assert [item for item in findings if item.severity == ERROR] == []


# ---------------------------------------------------------------- text


def test_a_duplicate_field_names_both_lines() -> None:
    (item,) = [i for i in found(POD + "spec: {}\n") if i.code == "duplicate-key"]
    assert item.line == 12 and "line 7" in item.message and not item.fixable


def test_a_duplicate_field_with_the_same_value_is_removed() -> None:
    text = POD.replace("  name: myapp-pod\n", "  name: myapp-pod # once\n  name: myapp-pod\n")
    assert repaired(text) == POD.replace("myapp-pod\n", "myapp-pod # once\n", 1)


@pytest.mark.parametrize(
    "twice",
    [
        "  name: myapp-pod # a comment would go\n",
        "  name:\n    # so would this\n    myapp-pod\n",
    ],
)
def test_a_repair_does_not_remove_comments_next_to_a_field(twice: str) -> None:
    text = POD.replace("  name: myapp-pod\n", f"  name: myapp-pod\n{twice}")
    assert "duplicate-key" in codes(text) and repaired(text) == text


def test_a_field_between_brackets_is_not_removed() -> None:
    text = NAMESPACE + "metadata: {name: a,\n  name: a, labels: {app: x},\n  annotations: {a: b}}\n"
    assert "duplicate-key" in codes(text) and repaired(text) == text


def test_text_behind_a_failure_is_not_repaired() -> None:
    """Only the parser could tell text from structure there."""
    text = (
        NAMESPACE + "metadata:\n  name: a\n   labels: {}\n---\n"
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n"
        'data:\n  msg: "“Hello” he said"\n  Makefile: |\n    all: x\ty\n    \tcc\n'
        '  tsv: "a\tb"\n'
    )
    assert codes(text) == {"indentation"} and repaired(text) == text


def test_an_ambiguous_tab_is_not_repaired() -> None:
    """Below `labels:` the line may be a label, or a field next to `labels`."""
    text = NAMESPACE + "metadata:\n  name: web\n  labels:\n\tapp: x\n"
    assert "tab" in codes(text) and repaired(text) == text


def test_harmless_tabs_are_not_found() -> None:
    assert not codes(
        '{\n\t"apiVersion": "v1",\n\t"kind": "Namespace",\n\t"metadata": {"name": "web"}\n}\n'
    )
    assert not codes("apiVersion: v1\nkind: Namespace\t# mine\nmetadata:\n  name:\tweb\n")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"apiVersion":"v1","Kind":"Namespace",%s}', '{"apiVersion":"v1","kind":"Namespace",%s}'),
        (
            '{"apiVersion":"apps/v1","kind":"Namespace",%s}',
            '{"apiVersion":"v1","kind":"Namespace",%s}',
        ),
    ],
)
def test_json_stays_json(before: str, after: str) -> None:
    rest = '"metadata":{"name":"web"}'
    assert repaired(before % rest + "\n") == after % rest + "\n"


@pytest.mark.parametrize("value", ["She said “hi”", "size 5″", "It’s ‘fine’", "👨‍👩‍👧"])  # noqa: RUF001
def test_typography_in_running_text_is_not_found(value: str) -> None:
    text = NAMESPACE + f"metadata:\n  name: web\n  annotations:\n    a: {value}\n"
    assert not codes(text) and repaired(text) == text


def test_a_repair_of_two_spellings_does_not_duplicate_the_field() -> None:
    text = NAMESPACE + "Metadata: {name: a}\nMETADATA: {name: b}\n"
    assert "wrong-case" in codes(text) and repaired(text) == text


@pytest.mark.parametrize("image", ["httpd:2.4", "httpd:2.4-alpine", "nginx:1.26"])
def test_a_tag_that_moves_is_not_an_old_image(image: str) -> None:
    assert "old-image" not in codes(POD.replace("busybox:1.37", image))


@pytest.mark.parametrize(
    "text",
    [
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [a.yaml]\n",
        "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\n",
        "apiVersion: scheduling.x-k8s.io/v1alpha1\nkind: PodGroup\nmetadata: {name: a}\n",
        "apiVersion: networking.gke.io/v1\nkind: ManagedCertificate\nmetadata: {name: a}\n",
        "apiVersion: v1\nkind: Config\nclusters: []\ncontexts: []\nusers: []\n",
        "apiVersion: skaffold/v4beta1\nkind: Config\nmetadata: {name: a}\nbuild: {}\n",
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n"
        "spec: {type: ExternalName, externalName: b.example, selector: {app: nobody}}\n---\n" + POD,
    ],
)
def test_correct_files_have_no_findings(text: str) -> None:
    assert not codes(text) & {"missing-field", "unknown-kind", "service-selector"}


@pytest.mark.parametrize(
    "container",
    [
        'command: [sh, -c, "echo start  # say so\\nsleep infinity"]',
        "command: [cat]\n      tty: true",
        "command: [cat]\n      stdin: true",
        "command: [env, X=1, nginx]",
        "command: [sh, -c, 'echo $(sleep 1000)']",
        "command: [cat]",
        "command: [cat, /run/answers]",
        "command: [cat, /proc/kmsg]",
        "command: [sh, -c, 'echo start; cat -u /var/run/answers']",
        "image: redis:8\n      args: [echo, hello]",
    ],
)
def test_commands_that_may_not_end_are_not_found(container: str) -> None:
    text = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n"
    image = "" if "image" in container else "image: busybox:1.37\n      "
    text += f"    - name: a\n      {image}{container}\n"
    assert "container-exits" not in codes(text)


def test_arguments_are_the_command_of_an_image_with_only_a_shell() -> None:
    text = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n"
    text += "    - {name: a, image: 'busybox:1.37', args: [echo, hello]}\n"
    assert "container-exits" in codes(text)


def test_a_ports_number_between_quotes_is_repaired() -> None:
    text = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n"
    text += "  selector: {app: a}\n  ports:\n    - port: 80\n      targetPort: {}\n"
    assert "wrong-type" in codes(text.replace("{}", '"80"'))
    assert repaired(text.replace("{}", '"80"')) == text.replace("{}", "80")
    assert "wrong-type" not in codes(text.replace("{}", '"http"'))


@pytest.mark.parametrize("word", ["y", "n", "Yes", "OFF"])
def test_unquoted_words_for_booleans_are_no_text(word: str) -> None:
    text = NAMESPACE + f"metadata: {{name: web, labels: {{a: {word}}}}}\n"
    assert "wrong-type" in codes(text)
    assert "wrong-type" not in codes(text.replace(word + "}}", "tRue}}"))


@pytest.mark.parametrize("word", ["true", "True", "yes"])
def test_privileged_is_found_in_every_spelling(word: str) -> None:
    text = POD.rstrip("\n") + f"\n    securityContext: {{privileged: {word}}}\n"
    assert "privileged" in codes(text)


def test_a_required_field_without_a_value_is_missing() -> None:
    text = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n"
    assert "missing-field" in codes(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("spec:\n  containers:\n  -name: web\n    image: a\n", "no space after its dash"),
        ("spec:\n  rules:\n  - host: *.example.com\n", "cannot begin with `*`"),
    ],
)
def test_a_syntax_error_names_its_cause(text: str, words: str) -> None:
    (item,) = [item for item in found("apiVersion: v1\n" + text) if item.code == "syntax"]
    assert words in item.message


def test_a_report_escapes_control_characters_and_is_short() -> None:
    text = NAMESPACE.replace("Namespace", '"\\e[2J' + "k" * 100_000 + '"')
    told = "".join(item.text() for item in found(text))
    assert "\x1b" not in told and len(told) < 5_000


TEMPLATES = "{spec: {storageClassName: '', accessModes: [x]}}, " * 30
HOSTILE = {
    "fields that do not exist": POD + "spec:\n" + "".join(f"  k{i}: 1\n" for i in range(49_000)),
    "one field in the wrong case": POD + "spec:\n" + "  Containers: 1\n" * 45_000,
    "dashes": "a: |\n  " + "- " * 490_000 + "\n b: c\n",
    "objects": "apiVersion: v1\nkind: List\nitems:\n"
    + "- {apiVersion: v1, kind: Service, metadata: {name: a}, spec: {selector: {a: b, c: d}}}\n"
    * 990,
    "claims": "apiVersion: v1\nkind: List\nitems:\n"
    + "- {kind: PersistentVolume, spec: {accessModes: [y]}}\n" * 250
    + f"- {{kind: StatefulSet, spec: {{volumeClaimTemplates: [{TEMPLATES}]}}}}\n" * 245,
    "lines": "\u00a0\n" * 300_000,
    "tabs": "a:\n" + "\tb: c\n" * 49_000,
    "fields that stand twice": "- {a: b}  # c\n" * 900 + "-\n" + "  a: b\n" * 999,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_texts_are_checked_quickly(text: str) -> None:
    begin = time.process_time()
    given = linter.look([decode("x.yaml", text.encode())], SCHEMA)
    assert list(linter.findings(given))
    # The goal is one second, but the tests' machine may be busy.
    assert time.process_time() - begin < 2


def test_two_objects_without_a_line_between_them_are_not_merged() -> None:
    text = POD + POD
    twice = [item for item in found(text) if item.code == "duplicate-key"]
    assert len(twice) == 4 and all("`---`" in item.fix for item in twice)
    assert repaired(text) == text


def test_a_template_is_recognized() -> None:
    (item,) = found("kind: Pod\n{{- if .Values.on }}\nmetadata: {}\n{{- end }}\n")
    assert item.code == "syntax" and "template" in item.message


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"command: [{L}sh{R}, {L}-c{R}, “sleep 1”]", """command: ['sh', '-c', "sleep 1"]"""),
        ('command: [sh, -c, "echo “hi”"]', 'command: [sh, -c, "echo \\"hi\\""]'),
        (f"command: [sh, -c, 'echo {L}hi{R}']", "command: [sh, -c, 'echo ''hi''']"),
        ("image: “busybox:1.37”", 'image: "busybox:1.37"'),
        ("command:\u00a0[sh]", "command: [sh]"),
        ("image: bus\u200bybox:1.37", "image: busybox:1.37"),
        (f"image: busybox:1.37 # it{R}s “fine”\u00a0here", None),
        (f"command: [cat, it{R}s]", None),
    ],
)
def test_characters_from_slides_are_repaired(line: str, expected: str | None) -> None:
    text = POD.replace("image: busybox", f"env: []\n    {line}")
    assert repaired(text) == (text.replace(line, expected) if expected else text)


def test_text_outside_of_commands_may_have_any_character() -> None:
    text = (
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: web\n  annotations:\n"
        '    say: He said “hello” to me\ndata:\n  a: "“quoted”\u00a0text"\n'
        "  Makefile: |\n    all:\n    \techo “hi”\n"
    )
    assert codes(text) == set()
    assert repaired(text) == text


def test_a_repair_that_would_break_the_file_is_skipped() -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: “a” b\n"
    assert repaired(text) == text
    assert "typographic-quote" in codes(text)


def test_windows_files_become_unix_files() -> None:
    text = "\ufeff" + POD.replace("\n", "\r\n")
    assert {"byte-order-mark", "carriage-return"} <= codes(text)
    assert repaired(text) == POD


def test_mixed_spaces_and_tabs_are_found_but_not_repaired() -> None:
    text = "a:\n  \tb: c\n"
    assert repaired(text) == text and "tab" in codes(text)
    assert repaired("a:\n\tb:\n\t\tc: d\n") == "a:\n  b:\n    c: d\n"


def test_the_number_of_findings_of_a_rule_is_limited() -> None:
    text = "".join(f"k{i}: “x”\n" for i in range(500))
    assert sum(i.code == "typographic-quote" for i in found(text)) == linter.MOST_FINDINGS
    assert "“" not in repaired(text)


# Damages of a manifest on its way from a slide to a file, in a possible order.
MISHAPS = {
    "field-inside-itself": lambda text: LECTURE,
    "capital": lambda text: text.replace("kind:", "Kind:"),
    "number-as-text": lambda text: text.replace("replicas: 3", 'replicas: "3"'),
    "old-version": lambda text: text.replace("apps/v1", "extensions/v1beta1"),
    "twice": lambda text: text.replace("  replicas:", "  replicas: 3\n  replicas:", 1),
    "curly": lambda text: text.replace("['sh', '-c',", f"[{L}sh{R}, {L}-c{R},"),
    "no-break-space": lambda text: text.replace("name: hello", "name:\u00a0hello"),
    "zero-width": lambda text: text.replace("image: busybox", "image: busy\u200bbox"),
    "tab": lambda text: text.replace("spec:\n  replicas", "spec:\n\treplicas", 1),
    "carriage-return": lambda text: text.replace("\n", "\r\n"),
    "mark": lambda text: "\ufeff" + text,
}


@pytest.mark.parametrize("first", MISHAPS)
@pytest.mark.parametrize("second", MISHAPS)
def test_two_mistakes_together_are_repaired(first: str, second: str) -> None:
    meant = repaired(LECTURE)
    text = meant
    for name, harm in MISHAPS.items():
        text = harm(text) if name in (first, second) else text
    assert repaired(text) == meant


# ---------------------------------------------------------------- fields


@pytest.mark.parametrize(
    ("old", "new", "code", "fix"),
    [
        ("containers:", "container:", "unknown-field", "did you mean `containers`?"),
        ("containers:", "Containers:", "wrong-case", "write `containers`"),
        ("    image:", "    imagePull:", "unknown-field", ""),
        ("    app: myapp\n", "    app: 1.10\n", "wrong-type", 'write `"1.10"`'),
        ("    app: myapp\n", "    app: yes\n", "wrong-type", 'write `"yes"`'),
        ("  - name: myapp", "    name: myapp", "wrong-type", "write `- ` before each item"),
        ("kind: Pod", "kind: Pods", "unknown-kind", "did you mean `Pod`?"),
        ("kind: Pod", "kind: pod", "unknown-kind", "did you mean `Pod`?"),
        ("apiVersion: v1", "apiVersion: v2", "unknown-kind", "write `apiVersion: v1`"),
        ("apiVersion: v1", "apiVersion: app/v1", "unknown-kind", "write `apiVersion: v1`"),
        ("apiVersion: v1", "apiVersion: core/v1", "unknown-kind", "write `apiVersion: v1`"),
        ("kind: Pod", "kind: Config", "unknown-kind", "did you mean `ConfigMap`?"),
        ("  name: myapp-pod\n", "", "missing-field", ""),
        ("  - name: myapp-container\n    image", "  - image", "missing-field", ""),
    ],
)
def test_a_wrong_field_has_a_code_and_a_fix(old: str, new: str, code: str, fix: str) -> None:
    text = POD.replace(old, new)
    there = [item for item in found(text) if item.code == code]
    assert there and fix in there[0].fix, found(text)


@pytest.mark.parametrize(
    ("written", "expected"),
    [('"3"', "3"), ("'3'", "3"), ("three", None), ("3.5", None), ("[3]", None), ("3", None)],
)
def test_a_number_in_quotes_is_repaired(written: str, expected: str | None) -> None:
    text = LECTURE.replace("replicas: 3", f"replicas: {written} # copies")
    assert ("wrong-type" in codes(text)) == (written != "3")
    assert f"replicas: {expected or written} # copies" in repaired(text)


@pytest.mark.parametrize(
    ("amount", "right"),
    [
        ("500m", True),
        ("0.5", True),
        ("128Mi", True),
        ("1e3", True),
        ("512MB", False),
        ("1 Gi", False),
    ],
)
def test_a_quantity_is_checked(amount: str, right: bool) -> None:
    text = POD + f"    resources:\n      requests:\n        memory: {amount}\n"
    assert ("wrong-type" in codes(text)) != right


def test_a_field_in_two_cases_is_found_but_not_repaired() -> None:
    text = POD.replace("kind: Pod\n", "kind: Pod\nKind: Service\n")
    assert "wrong-case" in codes(text) and repaired(text) == text


def test_a_field_with_the_wrong_indentation_names_its_place() -> None:
    less = "apiVersion: v1\nkind: Pod\nmetadata:\nname: web\nspec:\n  containers: []\n"
    assert "indent it more" in next(i.fix for i in found(less) if i.code == "unknown-field")
    more = POD.replace("spec:", "  spec:").replace("  containers", "    containers")
    more = more.replace("  - name: myapp-c", "    - name: myapp-c").replace(
        "    image", "      image"
    )
    more = more.replace("    command", "      command")
    assert "indent it less" in next(i.fix for i in found(more) if i.code == "unknown-field")


def test_kinds_of_extensions_are_not_checked() -> None:
    text = "apiVersion: metallb.io/v1beta1\nkind: IPAddressPool\nmetadata:\n  name: pool\n"
    assert codes(text) == set()


@pytest.mark.parametrize(
    ("api", "near"),
    [
        ("app/v1", True),
        ("Apps/v1", True),
        ("autoscalling/v2", True),
        ("core/v1", True),
        ("skaffold/v4beta1", False),
        ("helm/v3", False),
    ],
)
def test_a_group_without_a_dot_is_checked_if_it_resembles_a_built_in_one(
    api: str, near: bool
) -> None:
    text = f"apiVersion: {api}\nkind: Deploy\nmetadata: {{name: a}}\n"
    assert ("unknown-kind" in codes(text)) == near
    # With a built-in kind, the file is not another program's.
    assert "unknown-kind" in codes(text.replace("Deploy", "Deployment"))


def test_a_kind_with_two_versions_is_not_repaired() -> None:
    text = "apiVersion: autoscaling/v3\nkind: HorizontalPodAutoscaler\nmetadata:\n  name: a\n"
    assert repaired(text) == text and "unknown-kind" in codes(text)


def test_objects_in_a_list_are_checked() -> None:
    inner = "".join(f"    {line}\n" for line in POD.splitlines())
    text = f"apiVersion: v1\nkind: List\nitems:\n  -\n{inner}"
    assert codes(text) == {"unpinned-image", "missing-requests"}


def test_without_a_schema_all_other_rules_apply() -> None:
    text = "apiVersion: extensions/v1beta1\nKind: Deployment\nmetadata:\n  name: a\n  nome: b\n"
    assert codes(text, known=None) == {"removed-api", "wrong-case"}


# ---------------------------------------------------------------- pods and relations


@pytest.mark.parametrize(
    ("words", "ends"),
    [
        (["sh", "-c", "echo hello"], True),
        (["sh", "-c", "mkdir /a && echo a; ls"], True),
        (["sh", "-c", "echo a > /run/b; cat /etc/hosts"], True),
        (["sh", "-c", "echo I cannot do this && exit 1"], True),
        (["sh", "-c", "trap 'exit 0' TERM; sleep 3600"], False),
        (["/bin/cat", "/etc/hosts"], True),
        (["sh", "-c", "echo hello && sleep 3600"], False),
        (["sh", "-c", "while true; do date; done"], False),
        (["sh", "-c", "echo 'a; sleep' > /x\nexec nginx"], False),
        (["sh", "-c", "it's broken"], False),
        (["/bin/echo", "hello"], True),
        (["sleep", "10"], False),
        (["sh"], False),
    ],
)
def test_commands_that_end_at_once(words: list[str], ends: bool) -> None:
    assert ends_at_once(words) == ends


@pytest.mark.parametrize(
    ("image", "parts"),
    [
        ("nginx", ("nginx", "", "")),
        ("docker.io/library/nginx:1.26", ("nginx", "1.26", "")),
        ("registry.lab:5000/mine", ("registry.lab:5000/mine", "", "")),
        ("a/b:1@sha256:00", ("a/b", "1", "sha256:00")),
    ],
)
def test_an_image_splits_into_name_tag_and_digest(image: str, parts: tuple[str, str, str]) -> None:
    assert split_image(image) == parts


@pytest.mark.parametrize(
    ("image", "code"),
    [
        ("nginx:1.7.9", "old-image"),
        ("nginx:1.13.10", "old-image"),
        ("docker.io/library/nginx:1.13-alpine", "old-image"),
        ("nginx:1.14.2", None),
        ("nginx:1", None),
        ("nginx:stable", None),
        ("mine/nginx:1.7.9", None),
        ("gcr.io/google_containers/echoserver:1.4", "old-image"),
        ("nginx:latest", "unpinned-image"),
        ("nginx@sha256:0123", None),
    ],
)
def test_old_and_unpinned_images_are_found(image: str, code: str | None) -> None:
    left = codes(POD.replace("busybox", image)) - {"missing-requests"}
    assert left == ({code} if code else set())


def test_a_service_is_compared_within_its_namespace_and_across_files() -> None:
    deployment = repaired(LECTURE)
    wrong = SERVICE.replace("app: hello-d", "app: hello")
    assert "service-selector" in codes(deployment, wrong)
    elsewhere = wrong.replace("  name: my-service", "  name: my-service\n  namespace: other")
    assert "service-selector" not in codes(deployment, elsewhere)


@pytest.mark.parametrize(
    ("kind", "label", "value", "found"),
    [
        ("Job", "job-name", "web", True),
        ("Job", "batch.kubernetes.io/job-name", "web", True),
        ("Job", "job-name", "other", False),
        ("Job", "batch.kubernetes.io/job-completion-index", "0", True),
        ("StatefulSet", "statefulset.kubernetes.io/pod-name", "web-0", True),
        ("StatefulSet", "statefulset.kubernetes.io/pod-name", "other-0", False),
        ("StatefulSet", "apps.kubernetes.io/pod-index", "1", True),
        ("StatefulSet", "job-name", "web", False),
        ("Deployment", "job-name", "web", False),
    ],
)
@pytest.mark.parametrize("further", ["", ", app: web"])
def test_a_service_may_select_labels_that_controllers_add(
    kind: str, label: str, value: str, found: bool, further: str
) -> None:
    api = "batch/v1" if kind == "Job" else "apps/v1"
    pods = (
        f"apiVersion: {api}\nkind: {kind}\nmetadata: {{name: web}}\n"
        "spec: {template: {metadata: {labels: {app: web}}, spec: {containers: []}}}\n"
    )
    service = (
        "apiVersion: v1\nkind: Service\nmetadata: {name: web}\n"
        f"spec: {{selector: {{{label}: '{value}'{further}}}, clusterIP: None}}\n"
    )
    assert ("service-selector" in codes(pods, service)) is not found


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("storageClassName: manual\n  accessModes", "accessModes", "its class is none"),
        ("storage: 1Gi\n", "storage: 1500Mi\n", "it requests 1500Mi"),
        ("[ReadWriteOnce]\n  resources", "[ReadWriteMany]\n  resources", "lacks ReadWriteMany"),
    ],
)
def test_a_claim_that_does_not_fit_says_why(old: str, new: str, says: str) -> None:
    volume, claim = RULES["claim-mismatch"].good.split("---\n")
    (item,) = [i for i in found(volume, claim.replace(old, new)) if i.code == "claim-mismatch"]
    assert says in item.message and item.file == "1.yaml"


def claim_codes(*texts: str) -> set[str]:
    return codes(*texts, known=None) & {"claim-mismatch", "default-class"}


VOLUME, CLAIM = RULES["claim-mismatch"].good.split("---\n")
TEMPLATE = "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: db}\nspec:\n"
TEMPLATE += "  volumeClaimTemplates:\n    - metadata: {name: data}\n"
TEMPLATE += "      spec: {storageClassName: manual, accessModes: [ReadWriteOnce],\n"
TEMPLATE += "             resources: {requests: {storage: 1Gi}}}\n"


def without_class(text: str) -> str:
    return text.replace("  storageClassName: manual\n", "")


def test_a_statefulsets_templates_are_claims() -> None:
    other = CLAIM.replace("1Gi", "2Gi")
    assert claim_codes(VOLUME, other) == {"claim-mismatch"}
    assert claim_codes(VOLUME, TEMPLATE, other) == set()
    large = TEMPLATE.replace("1Gi", "2Gi")
    (item,) = [i for i in found(VOLUME, large) if i.code == "claim-mismatch"]
    assert "claim `data` of StatefulSet `db` does not fit" in item.message
    assert (item.file, item.line) == ("1.yaml", 7)


def test_a_claim_of_another_class_is_found_only_if_it_names_the_volume() -> None:
    other = CLAIM.replace("manual", "local-path")
    assert claim_codes(VOLUME, TEMPLATE, other) == set()
    assert claim_codes(VOLUME, other) == set()
    assert claim_codes(VOLUME, other + "  volumeName: disk\n") == {"claim-mismatch"}
    assert claim_codes(VOLUME, other + "  volumeName: another\n") == set()


@pytest.mark.parametrize("more", ["", "  volumeName: disk\n", "  storageClassName:\n"])
def test_a_claim_that_gets_the_default_class_is_found(more: str) -> None:
    volume, claim = without_class(VOLUME), without_class(CLAIM) + more
    (item,) = [i for i in found(volume, claim) if i.code == "default-class"]
    assert (item.file, item.line, item.severity) == ("1.yaml", 6, "warning")
    assert claim_codes(volume, claim) == {"default-class"}


@pytest.mark.parametrize(
    "texts",
    [
        # The claim has no class on purpose.
        (CLAIM.replace("manual", '""'),),
        # Another claim gets the volume, and this one wants the default class.
        (CLAIM.replace("manual", '""').replace("name: data", "name: own"), without_class(CLAIM)),
        (TEMPLATE.replace("manual", '""'), without_class(CLAIM)),
        # The claim names another volume.
        (without_class(CLAIM) + "  volumeName: another\n",),
    ],
)
def test_claims_that_do_not_get_the_default_class_are_not_found(texts: tuple[str, ...]) -> None:
    assert "default-class" not in claim_codes(without_class(VOLUME), *texts)


@pytest.mark.parametrize(("old", "new"), [("1Gi", "2Gi"), ("ReadWriteOnce", "ReadWriteMany")])
def test_a_claim_that_does_not_fit_is_a_mismatch_only(old: str, new: str) -> None:
    claim = without_class(CLAIM).replace(old, new)
    assert claim_codes(without_class(VOLUME), claim) == {"claim-mismatch"}


def test_a_reserved_volume_binds_whatever_the_class() -> None:
    volume = without_class(VOLUME) + "  claimRef: {name: data, namespace: default}\n"
    assert claim_codes(volume, without_class(CLAIM)) == set()
    # The class of the claim does not matter, and another claim cannot get the volume.
    assert claim_codes(volume, CLAIM) == set()
    elsewhere = without_class(VOLUME) + "  claimRef: {name: other, namespace: elsewhere}\n"
    assert claim_codes(elsewhere, without_class(CLAIM).replace("1Gi", "5Gi")) == set()


def test_the_finding_is_at_the_claim_that_names_the_volume() -> None:
    named = without_class(CLAIM).replace("name: data", "name: named") + "  volumeName: disk\n"
    texts = (without_class(VOLUME) + "---\n" + named, without_class(CLAIM))
    (item,) = [i for i in found(*texts) if i.code == "default-class"]
    assert "`named`" in item.message


def test_the_mismatch_of_the_exercise_is_found() -> None:
    folder = ROOT / "infra/workloads/volumes"
    mismatch = (folder / "mismatch.yaml").read_text()
    assert claim_codes(mismatch) == {"default-class"}
    beside = (folder / "manifests/volumes.yaml").read_text()
    (item,) = [i for i in found(mismatch, beside) if i.code == "default-class"]
    assert item.file == "0.yaml" and "`mismatch`" in item.message


def test_requests_of_the_pod_count_for_its_containers() -> None:
    whole = POD + "  resources: {requests: {cpu: 100m, memory: 64Mi}}\n"
    assert "missing-requests" not in codes(whole)
    (item,) = [
        i for i in found(whole.replace(", memory: 64Mi", "")) if i.code == "missing-requests"
    ]
    assert "requests no memory" in item.message


@pytest.mark.parametrize(
    ("port", "declared", "right"),
    [
        ("80", "[{containerPort: 80, name: http}]", True),
        ("http", "[{containerPort: 80, name: http}]", True),
        ("htpp", "[{containerPort: 80, name: http}]", False),
        ("8080", "[{containerPort: 80, name: http}]", False),
        # The sidecar's port: the probe reaches its number, but cannot use its name.
        ("9000", "[{containerPort: 80, name: http}]", True),
        ("metrics", "[{containerPort: 80, name: http}]", False),
        ("8080", "[]", True),
    ],
)
def test_a_probe_needs_a_declared_port(port: str, declared: str, right: bool) -> None:
    text = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n"
    text += f"    - {{name: a, ports: {declared}, readinessProbe: {{httpGet: {{port: {port}}}}}}}\n"
    text += "    - {name: b, ports: [{containerPort: 9000, name: metrics}]}\n"
    assert ("probe-port" not in codes(text)) == right


def test_a_quantity_is_a_number() -> None:
    assert quantity("1Gi") == 2**30 and quantity("500m") == 0.5 and quantity("1X") is None


# ---------------------------------------------------------------- the entry point and the report


def lint(lab: Lab, *words: str, fix: bool = False) -> Report:
    return linter.lint(lab, words, Status(io.StringIO()), fix=fix)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "load", lambda lab, status: SCHEMA)


@pytest.mark.usefixtures("known")
def test_files_are_repaired_in_place_and_others_stay_untouched(lab: Lab, tmp_path: Path) -> None:
    bad, good = tmp_path / "bad.yaml", tmp_path / "good.yaml"
    bad.write_bytes(LECTURE.replace("\n", "\r\n").encode())
    good.write_text(POD)
    bad.chmod(0o640)
    before = good.stat()
    report = lint(lab, str(tmp_path), fix=True)
    assert report.repaired == (str(bad),)
    assert bad.read_bytes() == repaired(LECTURE).encode()
    assert bad.stat().st_mode & 0o777 == 0o640
    assert (good.stat().st_ino, good.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert lint(lab, str(tmp_path), fix=True).repaired == ()
    report.raise_for_status()


FOREIGN = {
    "compose.yaml": "services:\n  web:\n    image: nginx\n",
    "values.yaml": "---\n# nothing\n---\nreplicas: 3\r\n",
    "playbook.yaml": "- hosts: all\n",
}


@pytest.mark.usefixtures("known")
def test_files_of_other_programs_below_a_folder_are_left_out(lab: Lab, tmp_path: Path) -> None:
    for name, text in FOREIGN.items():
        (tmp_path / name).write_bytes(text.encode())
    (tmp_path / "pod.yaml").write_text(POD)
    report = lint(lab, str(tmp_path), fix=True)
    assert {Path(item.file).name for item in report.findings} == {"pod.yaml"}
    assert report.files == 1 and report.data()["left_out"] == 3 and not report.repaired
    assert "\nleft out: 3 file(s) of other programs\n" in report.text()
    assert (tmp_path / "values.yaml").read_bytes() == FOREIGN["values.yaml"].encode()


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("also", [False, True])
def test_a_named_file_is_not_left_out(lab: Lab, tmp_path: Path, name: str, also: bool) -> None:
    (tmp_path / name).write_text(FOREIGN[name])
    words = [str(tmp_path)] * also + [str(tmp_path / name)]
    report = lint(lab, *words)
    assert report.files == 1 and "missing-field" in {item.code for item in report.findings}
    assert report.left_out == 0 and "left out" not in report.text()


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(
    "text",
    [
        "Kind: Pod\n",
        "metadata: {name: a}\n",
        "spec: {}\n",
        POD + "---\nreplicas: 3\n",
        "services: {}\n---\na: [\n",
        "",
    ],
)
def test_a_file_that_resembles_an_object_is_not_left_out(
    lab: Lab, tmp_path: Path, text: str
) -> None:
    (tmp_path / "a.yaml").write_text(text)
    report = lint(lab, str(tmp_path))
    assert report.files == 1 and report.left_out == 0 and bool(report.findings) == bool(text)


@pytest.mark.usefixtures("known")
def test_a_report_as_text_as_data_and_as_an_exit_code(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(LECTURE)
    report = lint(lab, str(path))
    assert f"{path}:17:7: error doubled-field: `spec` is inside" in report.text()
    assert "\n    fix: remove one of the two\n" in report.text()
    data = report.data()
    assert data["errors"] == 1 and data["kubernetes"] == "1.35.4"
    with pytest.raises(ChecksFailed) as failed:
        report.raise_for_status()
    assert failed.value.exit_code == 5 and failed.value.answered


def test_standard_input_cannot_be_repaired(lab: Lab) -> None:
    with pytest.raises(ConfigError):
        lint(lab, "-", fix=True)


def test_complaints_are_the_servers_errors() -> None:
    stderr = (
        'Error from server (BadRequest): error when creating "STDIN": Pod in version "v1" cannot '
        'be handled as a Pod: strict decoding error: unknown field "spec.x"\n'
        'Error from server (NotFound): error when creating "STDIN": namespaces "new" not found\n'
        "Warning: missing the last-applied annotation\n"
    )
    assert server.complaints(stderr, {"Namespace `new`"}) == [
        'Pod in version "v1" cannot be handled as a Pod: strict decoding error: unknown field '
        '"spec.x"'
    ]


# ---------------------------------------------------------------- the schema


def test_the_compact_form_has_kinds_and_types() -> None:
    form = schema.compact(swagger.swagger(), "1.35.4")
    assert form["kinds"]["apps/v1"] == {
        "Deployment": "io.k8s.api.apps.v1.Deployment",
        "ReplicaSet": "io.k8s.api.apps.v1.ReplicaSet",
    }
    port = form["types"]["io.k8s.api.ServicePort"]
    assert port["fields"]["targetPort"] == "port" and port["required"] == ["port"]
    requests = form["types"]["io.k8s.api.ResourceRequirements"]["fields"]["requests"]
    assert requests == "{}quantity"


def test_a_missing_schema_is_reported_and_no_failure(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_CACHE", str(tmp_path))
    (tmp_path / "toolchain").mkdir()
    item = '[openapi]\nversion = "1.35.4"\n'
    pins = 'url = "https://127.0.0.1:1/"\ndigest = "sha256:00"\nfile = "x"\n'
    for platform in ("amd64", "arm64"):
        item += f"[[openapi.release.linux-{platform}]]\n{pins}"
    (tmp_path / "toolchain" / "lock.toml").write_text(item)
    monkeypatch.setattr("lab.toolchain._reachable", lambda url: False)
    story = io.StringIO()
    assert schema.load(lab, Status(story)) is None
    assert "kinds, fields and types are not checked" in story.getvalue()
    # A schema in the cache is enough, even if no source answers.
    _, path = schema.pinned(tmp_path)
    path.parent.mkdir(parents=True)
    path.write_text('{"version": "1", "kinds": {}, "types": {}}')
    assert schema.load(lab, Status(story)) == schema.Schema("1", {}, {})


def test_a_file_that_cannot_be_replaced_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="cannot be repaired: No such file"):
        fix.write(str(tmp_path / "away" / "x.yaml"), "kind: Pod\n")
