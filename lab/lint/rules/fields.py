"""Rules about kinds and fields, against the schema of the lab's Kubernetes."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Iterator

from lab.lint import tree
from lab.lint.fix import Edit
from lab.lint.given import Given
from lab.lint.objects import File, Object
from lab.lint.rule import ERROR, MOST_FINDINGS, Found, rule
from lab.lint.schema import Schema
from lab.lint.tree import Mapping, Node, Scalar, Sequence
from lab.lint.typed import Value

_QUANTITY = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+|[numkMGTPE]|[KMGTPE]i)?")
# apiVersion, release that removed it, replacement, kinds. The names follow
# https://kubernetes.io/docs/reference/using-api/deprecation-guide
_REMOVED = (
    ("extensions/v1beta1", "1.16", "apps/v1", "DaemonSet Deployment ReplicaSet"),
    ("extensions/v1beta1", "1.16", "networking.k8s.io/v1", "NetworkPolicy"),
    ("extensions/v1beta1", "1.22", "networking.k8s.io/v1", "Ingress"),
    ("extensions/v1beta1", "1.16", "", "PodSecurityPolicy"),
    ("apps/v1beta1", "1.16", "apps/v1", "Deployment StatefulSet"),
    ("apps/v1beta2", "1.16", "apps/v1", "DaemonSet Deployment ReplicaSet StatefulSet"),
    ("networking.k8s.io/v1beta1", "1.22", "networking.k8s.io/v1", "Ingress IngressClass"),
    ("batch/v2alpha1", "1.21", "batch/v1", "CronJob"),
    ("batch/v1beta1", "1.25", "batch/v1", "CronJob"),
    ("policy/v1beta1", "1.25", "policy/v1", "PodDisruptionBudget"),
    ("policy/v1beta1", "1.25", "", "PodSecurityPolicy"),
    ("autoscaling/v2beta1", "1.25", "autoscaling/v2", "HorizontalPodAutoscaler"),
    ("autoscaling/v2beta2", "1.26", "autoscaling/v2", "HorizontalPodAutoscaler"),
    (
        "rbac.authorization.k8s.io/v1beta1",
        "1.22",
        "rbac.authorization.k8s.io/v1",
        "ClusterRole ClusterRoleBinding Role RoleBinding",
    ),
    (
        "storage.k8s.io/v1beta1",
        "1.22",
        "storage.k8s.io/v1",
        "CSIDriver CSINode StorageClass VolumeAttachment",
    ),
    ("storage.k8s.io/v1beta1", "1.27", "storage.k8s.io/v1", "CSIStorageCapacity"),
    ("scheduling.k8s.io/v1beta1", "1.22", "scheduling.k8s.io/v1", "PriorityClass"),
    ("apiextensions.k8s.io/v1beta1", "1.22", "apiextensions.k8s.io/v1", "CustomResourceDefinition"),
    ("apiregistration.k8s.io/v1beta1", "1.22", "apiregistration.k8s.io/v1", "APIService"),
    (
        "admissionregistration.k8s.io/v1beta1",
        "1.22",
        "admissionregistration.k8s.io/v1",
        "MutatingWebhookConfiguration ValidatingWebhookConfiguration",
    ),
    ("certificates.k8s.io/v1beta1", "1.22", "certificates.k8s.io/v1", "CertificateSigningRequest"),
    ("coordination.k8s.io/v1beta1", "1.22", "coordination.k8s.io/v1", "Lease"),
    ("discovery.k8s.io/v1beta1", "1.25", "discovery.k8s.io/v1", "EndpointSlice"),
    ("events.k8s.io/v1beta1", "1.25", "events.k8s.io/v1", "Event"),
    ("node.k8s.io/v1beta1", "1.25", "node.k8s.io/v1", "RuntimeClass"),
    *(
        (
            f"flowcontrol.apiserver.k8s.io/{version}",
            release,
            "flowcontrol.apiserver.k8s.io/v1",
            "FlowSchema PriorityLevelConfiguration",
        )
        for version, release in (("v1beta1", "1.26"), ("v1beta2", "1.29"), ("v1beta3", "1.32"))
    ),
)
REMOVED = {
    (api, kind): (release, replacement)
    for api, release, replacement, kinds in _REMOVED
    for kind in kinds.split()
}


@rule(
    ERROR,
    "An apiVersion that was removed",
    concept="Each API of Kubernetes has versions. Some releases after the stable version appears, "
    "Kubernetes removes the beta version. Today's API server refuses a manifest with the removed "
    "version.",
    fix="write the version that replaced it, and compare the fields",
    bad="apiVersion: extensions/v1beta1\nkind: Deployment\n",
    good="""
        apiVersion: apps/v1
        kind: Deployment
        metadata:
          name: web
        spec:
          selector:
            matchLabels:
              app: web
          template:
            metadata:
              labels:
                app: web
            spec:
              containers:
                - name: web
                  image: nginx:1.26
    """,
    repairs=True,
)
def removed_api(given: Given) -> Iterator[Found]:
    for item in given.objects:
        if item.api and item.kind and (gone := REMOVED.get((item.api.text, item.kind.text))):
            release, replacement = gone
            message = f"Kubernetes {release} removed {item.kind.text} of `{item.api.text}`"
            edits = (_rewritten(item.api, replacement),) if replacement else ()
            fix = f"write `apiVersion: {replacement}`" if replacement else "nothing replaces it"
            yield Found(item.file, item.api.start, message, fix, edits)


@rule(
    ERROR,
    "An unknown kind",
    concept="apiVersion and kind together name the type of an object. Each kind is in one group, "
    "such as `apps`, and in the versions of the group that this Kubernetes serves.",
    fix="look up the pair with `kubectl api-resources`",
    bad="apiVersion: v1\nkind: Deployment\n",
    good="apiVersion: v1\nkind: Namespace\nmetadata:\n  name: web\n",
    repairs=True,
)
def unknown_kind(given: Given) -> Iterator[Found]:
    schema = given.schema
    for item in given.objects:
        if not (schema and item.api and item.kind) or not item.api.text or not item.kind.text:
            continue
        api, kind = item.api.text, item.kind.text
        if schema.kind(api, kind) or (api, kind) in REMOVED or _is_kubeconfig(item):
            continue
        versions = schema.versions(kind)
        # A built-in kind in a group without a dot is a misspelled built-in group.
        if versions and ("." not in _group(api) or _own_group(schema, api)):
            homes = " or ".join(f"`{version}`" for version in versions)
            message = f"{kind} is in {homes}, not in `{api}`"
            # A kind may have two versions or groups, e.g. Event. Then no repair is certainly right.
            edits = (_rewritten(item.api, versions[0]),) if len(versions) == 1 else ()
            yield Found(
                item.file, item.api.start, message, f"write `apiVersion: {versions[0]}`", edits
            )
        elif api in schema.kinds:
            kinds = schema.kinds[api]
            message = f"`{api}` has no kind `{kind}`"
            same = [name for name in kinds if name.lower() == kind.lower()]
            edits = (_rewritten(item.kind, same[0]),) if same else ()
            others = {name for group in schema.kinds.values() for name in group}
            fix = _meant(kind, same or kinds) or _meant(kind, others)
            yield Found(item.file, item.kind.start, message, fix, edits)
        elif _own_group(schema, api):
            message = f"there is no apiVersion `{api}`"
            yield Found(item.file, item.api.start, message, _meant(api, schema.kinds))


@rule(
    ERROR,
    "An unknown field",
    concept="Every kind has its own fields, each in its own place. The API server refuses an "
    "unknown field, or drops it with a warning. Either way the field has no effect.",
    fix="look up the fields with `kubectl explain`",
    bad="apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n  label: {}\n",
    good="apiVersion: v1\nkind: Namespace\nmetadata:\n  name: web\n  labels: {}\n",
)
def unknown_field(given: Given) -> Iterator[Found]:
    counts: Counter[str] = Counter()
    for value in given.values:
        if given.schema and value.key and not (value.wanted or value.twin or value.doubled):
            # The search for similar names is slow.
            counts[value.file.source.name] += 1
            if counts[value.file.source.name] > MOST_FINDINGS:
                continue
            holder = value.within.title if value.within else ""
            fields = value.of.fields if value.of else ()
            fix = _elsewhere(given.schema, value) or _meant(value.name, fields)
            message = f"there is no field `{value.name}` in {holder}"
            yield Found(value.file, value.key.start, message, fix)


@rule(
    ERROR,
    "A field's name in the wrong case",
    concept="Names of fields are case-sensitive: `Kind` is not `kind`, and `containerport` is not "
    "`containerPort`.",
    fix="write the name as Kubernetes does",
    bad="apiVersion: v1\nKind: Namespace\nmetadata:\n  name: web\n",
    good="apiVersion: v1\nkind: Namespace\nmetadata:\n  name: web\n",
    repairs=True,
)
def wrong_case(given: Given) -> Iterator[Found]:
    names: dict[int, Counter[str]] = {}
    for value in given.values:
        if value.twin and value.key and value.within:
            message = f"`{value.name}` is `{value.twin}` in Kubernetes"
            holder = value.within.node
            if id(holder) not in names and isinstance(holder, Mapping):
                names[id(holder)] = Counter(key.text.lower() for key, _ in holder.pairs)
            # If the object also has the right name, the repair would duplicate the field.
            twice = names[id(holder)][value.twin.lower()] > 1
            edits = () if twice else (_rewritten(value.key, value.twin),)
            yield Found(value.file, value.key.start, message, f"write `{value.twin}`", edits)


@rule(
    ERROR,
    "A field inside itself",
    concept="If the same field name is on two lines and the second is deeper, the field contains "
    "itself. The lecture's Deployment has `spec:` twice. So its pods have an unknown field `spec` "
    "and no containers.",
    fix="write the field once",
    bad="""
        apiVersion: v1
        kind: Pod
        metadata:
          name: web
        spec:
          spec:
            containers:
              - name: web
                image: nginx:1.26
    """,
    good="""
        apiVersion: v1
        kind: Pod
        metadata:
          name: web
        spec:
          containers:
            - name: web
              image: nginx:1.26
    """,
    repairs=True,
)
def doubled_field(given: Given) -> Iterator[Found]:
    for value in given.values:
        if value.doubled and value.key and value.within and value.within.key:
            line = value.file.source.place(value.within.key.start)[0]
            message = f"`{value.name}` is inside the `{value.name}` of line {line}"
            edits = _undouble(value)
            yield Found(value.file, value.key.start, message, "remove one of the two", edits)


@rule(
    ERROR,
    "A value of the wrong type",
    concept="Each field takes one type: text, a number, true or false, a list or an object. In "
    'YAML, quotes decide: 80 is a number, and "80" is text. `yes` and `1.10` are not text.',
    fix="write a value of the type that the field has",
    bad="""
        apiVersion: v1
        kind: Pod
        metadata:
          name: web
          labels:
            version: 1.10
        spec:
          containers:
            - name: web
              image: nginx:1.26
    """,
    good="""
        apiVersion: v1
        kind: Pod
        metadata:
          name: web
          labels:
            version: "1.10"
        spec:
          containers:
            - name: web
              image: nginx:1.26
    """,
    repairs=True,
)
def wrong_type(given: Given) -> Iterator[Found]:
    for value in given.values:
        if not _fits(value.node, value.wanted):
            takes = _TITLES.get(value.wanted) or _TITLES.get(value.wanted[:2], "an object")
            message = f"{value.title} takes {takes}, and {_is(value.file, value.node)}"
            fix, edits = _retyped(value.file, value.node, value.wanted)
            yield Found(value.file, value.node.start, message, fix, edits)


@rule(
    ERROR,
    "A missing field",
    concept="Some fields have no default. For example, Kubernetes cannot create an object without "
    "a name, or a pod without containers.",
    fix="add the field",
    bad="apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\nspec: {}\n",
    good="apiVersion: v1\nkind: Namespace\nmetadata:\n  name: web\n",
)
def missing_field(given: Given) -> Iterator[Found]:
    for file in given.files:
        for document in file.tree.documents:
            if not isinstance(document, Mapping) and not _is_null(document):
                yield Found(
                    file, document.start, "this document is not an object: it has no fields"
                )
    for item in given.objects:
        both = (("apiVersion", item.api), ("kind", item.kind))
        if lacking := [name for name, it in both if it is None or it.kind == "null"]:
            message = f"the object has no {' and no '.join(f'`{name}`' for name in lacking)}"
            yield Found(item.file, item.node.start, message)
        metadata = tree.get(item.node, "metadata")
        named = tree.text(metadata, "name") or tree.text(metadata, "generateName")
        if item.api and item.kind and not named and _has_name(given.schema, item):
            yield Found(item.file, item.node.start, f"{item.title} has no `metadata.name`")
    for value in given.values:
        of = given.schema.type(value.wanted) if given.schema else None
        if of and isinstance(value.node, Mapping):
            names = {key.text for key, node in value.node.pairs if not _is_null(node)}
            # If a field is inside itself, the inner field gets the finding.
            if value.name in names and value.name not in of.fields:
                continue
            names |= {of.twin(name) for name in names}
            for field in of.required:
                if field not in names:
                    yield Found(value.file, value.node.start, f"{value.title} has no `{field}`")


# ---------------------------------------------------------------- parts of messages, and edits

_TITLES = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "quantity": "a quantity such as 500m or 128Mi",
    "port": "a number or a name",
    "[]": "a list",
}
_TAKES = {
    "string": ("string",),
    "integer": ("integer",),
    "number": ("integer", "number"),
    "boolean": ("boolean",),
    "port": ("integer", "string"),
    "quantity": ("integer", "number", "string"),
}


def _is(file: File, node: Node) -> str:
    """The type of a value, for a message."""
    if isinstance(node, Scalar):
        titles = {"string": "text", "boolean": "true or false"}
        written = file.source.text[node.start : node.end].split("\n")[0]
        return f"`{written[:40]}` is {titles.get(node.kind, 'a number')}"
    return "this is a list" if isinstance(node, Sequence) else "this is an object"


def _is_null(node: Node) -> bool:
    return isinstance(node, Scalar) and node.kind == "null"


def _rewritten(scalar: Scalar, text: str) -> Edit:
    """The edit that replaces a scalar's text and keeps its quotes."""
    quotes = int(scalar.style in ("'", '"'))
    return Edit(scalar.start + quotes, scalar.end - quotes, text)


def _fits(node: Node, wanted: str) -> bool:
    if wanted in ("", "any") or _is_null(node):
        return True
    if wanted in _TAKES:
        fits = isinstance(node, Scalar) and node.kind in _TAKES[wanted]
        # A port's name has a letter in it: https://kubernetes.io/docs/reference/kubernetes-api
        if wanted == "port" and isinstance(node, Scalar) and node.kind == "string":
            return not node.text.isdigit()
        return fits and (wanted != "quantity" or bool(_QUANTITY.fullmatch(tree.text(node))))
    return isinstance(node, Sequence if wanted.startswith("[]") else Mapping)


def _retyped(file: File, node: Node, wanted: str) -> tuple[str, tuple[Edit, ...]]:
    """The fix and the edits for a value of the wrong type. Only quotes can be repaired."""
    if isinstance(node, Mapping) and wanted.startswith("[]"):
        return "write `- ` before each item", ()
    if not isinstance(node, Scalar) or wanted not in _TAKES:
        return "", ()
    raw = file.source.text[node.start : node.end]
    if wanted == "string" and raw == node.text:
        written = f'"{raw}"'
    elif node.style in ("'", '"') and tree.meaning(node.text) in _TAKES[wanted][:1]:
        yes = node.text.lower() in tree.TRUE
        written = ("true" if yes else "false") if wanted == "boolean" else node.text
    else:
        return "", ()
    return f"write `{written}`", (Edit(node.start, node.end, written),)


def _undouble(value: Value) -> tuple[Edit, ...]:
    """The edits that remove one of two lines and move the inner fields to the left."""
    file, node, source = value.file, value.node, value.file.source
    outer = value.within.node if value.within else None
    if not isinstance(outer, Mapping) or not isinstance(node, Mapping) or len(outer.pairs) > 1:
        return ()
    number, column = source.place(outer.start)
    first, deeper = source.place(node.start)
    if source.line(number).strip() != f"{value.name}:" or first == number or deeper <= column:
        return ()
    edits = [Edit(source.start(number), source.start(number + 1), "")]
    for line in range(number + 1, source.place(file.last(node) - 1)[0] + 1):
        there = len(source.line(line)) - len(source.line(line).lstrip(" "))
        start = source.start(line)
        edits.append(Edit(start, start + min(there, deeper - column), ""))
    return tuple(edits)


def _elsewhere(schema: Schema, value: Value) -> str:
    """The fix for a field with the wrong indentation; empty if the indentation is right."""
    holder = value.within
    if holder is None or not isinstance(holder.node, Mapping):
        return ""
    name = value.name
    if holder.of and name in holder.of.fields:
        return f"`{name}` belongs next to `{holder.name}`: indent it less"
    there = {key.text for key, _ in holder.node.pairs}
    for field, kind in value.of.fields.items() if value.of else ():
        inner = schema.type(kind.removeprefix("[]")) if field in there else None
        if inner and name in inner.fields:
            return f"`{name}` belongs in `{field}`: indent it more"
    return ""


def _own_group(schema: Schema, api: str) -> bool:
    """Whether an apiVersion is, or resembles, one of Kubernetes and not one of an extension.

    Groups of extensions have a dot. A group without one may be from a program's own file, e.g.
    skaffold's.
    """
    group = _group(api).lower()
    groups = set(map(_group, schema.kinds))
    if "." not in group:
        # `networking` is short for `networking.k8s.io`, and `core` for the group without a name.
        short = {"core", *(known.partition(".")[0] for known in groups)}
        return not group or bool(difflib.get_close_matches(group, short, 1, 0.7))
    # The groups of the Kubernetes project's own extensions end with `x-k8s.io`.
    near = not group.endswith("x-k8s.io") and difflib.get_close_matches(group, groups, 1, 0.9)
    return group in groups or bool(near)


def _group(api: str) -> str:
    """The group of an apiVersion; empty for `v1`."""
    return api.rpartition("/")[0]


def _is_kubeconfig(item: Object) -> bool:
    """Whether the object is kubectl's configuration, and not a ConfigMap, which has metadata."""
    api, kind = (node.text if node else "" for node in (item.api, item.kind))
    return (api, kind) == ("v1", "Config") and tree.get(item.node, "metadata") is None


def _has_name(schema: Schema | None, item: Object) -> bool:
    """Whether objects of this kind have names. Lists and reviews do not."""
    api, kind = (node.text if node else "" for node in (item.api, item.kind))
    of = schema.type(schema.kind(api, kind)) if schema else None
    if kind.endswith(("List", "Review")):
        return False
    # A program's configuration file resembles an object but has neither name nor metadata.
    return "metadata" in of.fields if of else tree.get(item.node, "metadata") is not None


def _meant(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), 1)
    return f"did you mean `{near[0]}`?" if near else ""
