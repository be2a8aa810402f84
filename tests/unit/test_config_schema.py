"""lab.schema.json and the parser of lab.toml accept and refuse the same."""

from __future__ import annotations

import datetime
import json
import random
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from lab import config, config_schema
from lab.errors import ConfigError
from lab.patterns import OCTET, networks, numbers
from tests.unit.conftest import ROOT

SCHEMA = config_schema.document()
# What concerns several keys, or what machines use, and therefore the parser alone:
ACROSS_KEYS = (
    # Networks of pods, Services, machines, and those inside machines.
    r"overlaps ",
    r'must name a folder or an address for source = "mirror"',
    # Workers beside three control planes.
    r"is too many: ",
    # Ports of the lab and of each [[forward]].
    r"is the port of .* already",
)
ANNOTATIONS = {"$schema", "title", "description", "default"}
TYPES: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    # JSON Schema takes 1.0 for an integer.
    "integer": lambda value: (
        isinstance(value, int | float) and not isinstance(value, bool) and value % 1 == 0
    ),
}


def accepts(schema: Mapping[str, Any], value: Any) -> bool:
    """Whether a JSON Schema of the keywords that ours uses accepts a value."""
    return all(follows(keyword, schema, value) for keyword in schema.keys() - ANNOTATIONS)


def follows(keyword: str, schema: Mapping[str, Any], value: Any) -> bool:
    """Whether a value follows one keyword. Raises AssertionError for one that is not known."""
    wanted = schema[keyword]
    if keyword == "type":
        return TYPES[wanted](value)
    if keyword == "enum":
        return any(same(value, one) for one in wanted)
    if keyword == "anyOf":
        return any(accepts(one, value) for one in wanted)
    if keyword == "not":
        return not accepts(wanted, value)
    if keyword == "pattern":
        # In ECMA-262 `$` is the very end; Python's is also before a last newline.
        exact = re.sub(r"\$$", r"\\Z", wanted)
        return not isinstance(value, str) or bool(re.search(exact, value))
    if keyword in ("minimum", "maximum"):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return not number or (value >= wanted if keyword == "minimum" else value <= wanted)
    if keyword == "items":
        return not isinstance(value, list) or all(accepts(wanted, item) for item in value)
    if keyword == "required":
        return not isinstance(value, dict) or set(wanted) <= value.keys()
    if keyword == "properties":
        known = wanted.keys() & value.keys() if isinstance(value, dict) else ()
        return all(accepts(wanted[key], value[key]) for key in known)
    assert (keyword, wanted) == ("additionalProperties", False)
    return not isinstance(value, dict) or value.keys() <= schema["properties"].keys()


def same(one: Any, other: Any) -> bool:
    """Whether JSON has one value for both: true is not 1."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def problems(folder: Path, text: str) -> list[str]:
    """What the parser finds wrong with the text of a lab.toml, besides rules across keys."""
    (folder / "lab.toml").write_text(text, newline="")
    try:
        config.load(folder, {}, {})
    except ConfigError as error:
        told = [str(problem) for problem in error.problems]
        return [one for one in told if not re.search("|".join(ACROSS_KEYS), one)]
    return []


def toml(value: Any) -> str:
    """A value in TOML; tables are written inline."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{toml(key)} = {toml(one)}' for key, one in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, datetime.date):
        return value.isoformat()
    return json.dumps(value, ensure_ascii=False)


# ------------------------------------------------------------------ values: seed -> key -> value

# By key: values that are right, of which wrong ones are made as well.
RIGHT: Mapping[str, tuple[Any, ...]] = {
    "version": (1, "1"),
    "name": ("lab", "a", "second-lab", "a2345678901234567890", "stacks", "passphrase"),
    "provider": config.PROVIDERS,
    "distribution": config.DISTRIBUTIONS,
    "kubernetes": ("auto", "1.35.4", "1.35.4-rc1"),
    "source": config.SOURCES,
    "mirror": ("", "/media/usb", "https://files.example.edu/lab", "ä"),
    "machines.control_planes": (1, 3, "1", "3"),
    "machines.workers": ("auto", 0, 5, "0", "5", "05"),
    "machines.cpus": (1, 64, "1", "64", "064"),
    "machines.memory": (1024, 1048576, "1024", "2 GiB", "2gb", "1024G", "1048576 M", "01024MiB"),
    "network.subnet": ("auto", "10.1.2.0/24", "172.31.0.0/24", "192.168.33.0/24", "198.19.1.0/24"),
    "network.pods": ("10.244.0.0/16", "172.16.0.0/12", "10.2.240.0/20", "100.64.128.0/17"),
    "network.services": ("10.96.0.0/16", "10.80.0.0/13", "255.255.192.0/18", "0.0.0.0/14"),
    "network.registry_mirror": ("", "http://127.0.0.1:5000", "https://hub.example.edu"),
    "network.ca": ("", "/etc/ssl/ca.pem"),
    "ports.api": ("auto", 1024, 65535, "6443"),
    "ports.http": ("auto", 8080, "65535", "1024"),
    "ports.registry": ("auto", 5000, "05000"),
    "ports.ssh": ("auto", 2222, 65529, "65529"),
}
RIGHT_FORWARD: Mapping[str, tuple[Any, ...]] = {
    "host": (9000, 1024, 65535, "9001"),
    "guest": (1, 65535, "80"),
    "machine": ("control-plane-1", "worker-9"),
}
OTHER_TYPES: tuple[Any, ...] = (
    True,
    False,
    2.5,
    -1,
    10**20,
    167772160,
    [],
    [1],
    {},
    {"auto": 1},
    "",
    "auto",
    datetime.date(2026, 12, 1),
)
# U+0663 is a digit, and U+0131 an i, for some functions of Python.
LETTERS = "019 ./-_aZgGiIbBmM:\n\u0663\u0131"


def changed(value: Any, chance: random.Random) -> Any:
    """A value one step from another one: mostly wrong, sometimes right."""
    if isinstance(value, int):
        return value + chance.choice((-1, 1, 10))
    place, end = sorted(chance.choices(range(len(value) + 1), k=2))
    kept = chance.choice((end, place, place + 1))
    return value[:place] + chance.choice((*LETTERS, "")) + value[kept:]


def any_value(right: tuple[Any, ...], chance: random.Random) -> Any:
    """A value of a key: right, a step from right, or of another type."""
    kind = chance.random()
    if kind < 0.5:
        return chance.choice(right)
    return changed(chance.choice(right), chance) if kind < 0.9 else chance.choice(OTHER_TYPES)


def configuration(chance: random.Random) -> dict[str, Any]:
    """The content of a lab.toml with one key to three, and now and then something else."""
    made: dict[str, Any] = {}
    for key in chance.sample(sorted(RIGHT), chance.randint(1, 3)):
        *tables, last = key.split(".")
        place = made
        for table in tables:
            place = place.setdefault(table, {})
        place[last] = any_value(RIGHT[key], chance)
    extra = chance.random()
    if extra < 0.2:
        made["forward"] = [forward(chance) for _ in range(chance.randint(0, 2))]
    elif extra < 0.3:
        # Unknown keys, tables in the place of values, and the other way round.
        names = ("machines", "forward", "nam", "machines.cpus", "network", "ports")
        made[chance.choice(names)] = chance.choice((*OTHER_TYPES, 1, {"cpu": 1}, {"a.b": {}}))
    return made


def forward(chance: random.Random) -> Any:
    """One [[forward]]: mostly complete."""
    if chance.random() < 0.1:
        return chance.choice(OTHER_TYPES)
    keys = [key for key in RIGHT_FORWARD if chance.random() < 0.9]
    made = {key: any_value(RIGHT_FORWARD[key], chance) for key in keys}
    return made | ({"hots": 1} if chance.random() < 0.1 else {})


# ------------------------------------------------------------------------------------- the tests


def test_the_file_is_what_the_rules_say() -> None:
    """`python -m lab.config_schema` writes it."""
    assert (ROOT / config_schema.FILE).read_text() == config_schema.text()


def test_editors_find_it_by_the_first_line() -> None:
    first = (ROOT / "lab.toml").read_text().splitlines()[0]
    assert first == f"#:schema ./{config_schema.FILE}"


def test_every_default_is_accepted() -> None:
    defaults = {key: config_schema.default(key) for key in config.KEYS}
    assert all(accepts(config.KEYS[key].schema, value) for key, value in defaults.items())
    values = {key: config.KEYS[key](value) for key, value in defaults.items()}
    values.pop("version")
    plain = config.Settings(root=Path())
    for key, value in values.items():
        holder = plain.ports if key.startswith("ports.") else plain
        assert value == getattr(holder, key.split(".")[-1]), key


def test_every_key_has_values_here() -> None:
    assert RIGHT.keys() == config.KEYS.keys()
    assert RIGHT_FORWARD.keys() == config.FORWARD_KEYS.keys()


@pytest.mark.parametrize("key", sorted(config.KEYS))
def test_schema_and_rule_of_a_key_agree(key: str) -> None:
    """For values of every kind; both verdicts come often enough to mean something."""
    chance, verdicts = random.Random(key), Counter[bool]()
    for _ in range(2000):
        value = any_value(RIGHT[key], chance)
        try:
            config.KEYS[key](value)
            right = True
        except ValueError:
            right = False
        assert accepts(config.KEYS[key].schema, value) == right, value
        verdicts[right] += 1
    assert min(verdicts[True], verdicts[False]) > 100


@pytest.mark.parametrize("seed", range(10))
def test_schema_and_parser_agree(tmp_path: Path, seed: int) -> None:
    """For whole files, but for rules across keys, which only the parser knows."""
    chance, verdicts = random.Random(seed), Counter[bool]()
    for _ in range(150):
        text = "\n".join(
            f"{toml(key)} = {toml(value)}" for key, value in configuration(chance).items()
        )
        found = problems(tmp_path, text)
        assert accepts(SCHEMA, tomllib.loads(text)) == (not found), (text, found)
        verdicts[not found] += 1
    assert min(verdicts[True], verdicts[False]) > 15


@pytest.mark.parametrize(
    "text",
    [
        'network = { pods = "10.0.0.0/12", services = "10.8.0.0/16" }',
        'network = { subnet = "10.88.1.0/24" }',
        'source = "mirror"',
        "machines = { control_planes = 3, workers = 4 }",
        "ports = { api = 8080, http = 8080 }",
        "ports = { api = 9000 }\nforward = [{ host = 9000, guest = 1 }]",
    ],
)
def test_rules_across_keys_are_the_parsers(tmp_path: Path, text: str) -> None:
    """Each of these is refused by such a rule alone; an editor shows nothing."""
    assert accepts(SCHEMA, tomllib.loads(text))
    assert problems(tmp_path, text) == []
    with pytest.raises(ConfigError):
        config.load(tmp_path, {}, {})


def test_a_whole_number_with_a_point(tmp_path: Path) -> None:
    """The one value that JSON Schema cannot tell from another: for it 2.0 is the integer 2."""
    text = "machines = { cpus = 2.0 }"
    assert accepts(SCHEMA, tomllib.loads(text))
    assert problems(tmp_path, text)


def parts(schema: Any) -> Iterator[Mapping[str, Any]]:
    """A schema and all schemas within it."""
    yield schema
    inner = [*schema.get("properties", {}).values(), *schema.get("anyOf", ())]
    inner += [schema[key] for key in ("items", "not") if key in schema]
    for one in inner:
        yield from parts(one)


def test_patterns_mean_the_same_everywhere() -> None:
    """They match whole texts, and have no class such as \\d, which differs between languages."""
    for schema in parts(SCHEMA):
        pattern = schema.get("pattern", "^$")
        assert pattern[0] == "^" and pattern[-1] == "$"
        assert not re.search(r"\\[^.n/-]|\(\?[^:]|(?<!\\)\.[*+]", pattern), pattern


@pytest.mark.parametrize(
    ("low", "high"), [(0, 0), (0, 5), (1, 64), (0, 255), (9, 10), (99, 1000), (1024, 65535)]
)
def test_the_pattern_of_a_range(low: int, high: int) -> None:
    pattern = re.compile(numbers(low, high))
    for number in range(0, high + 1200):
        assert bool(pattern.fullmatch(str(number))) == (low <= number <= high), number


def test_the_pattern_of_an_octet_takes_no_leading_zero() -> None:
    assert not re.fullmatch(OCTET, "01") and not re.fullmatch(OCTET, "256")


def test_the_pattern_of_a_network_refuses_bits_of_hosts() -> None:
    pattern = re.compile(networks((14,)))
    matched = [second for second in range(256) if pattern.fullmatch(f"10.{second}.0.0/14")]
    assert matched == list(range(0, 256, 4))
