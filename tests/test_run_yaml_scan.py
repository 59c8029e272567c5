"""Single values out of a config.yaml: always what PyYAML reads, whether the text is ours or anyone's."""

import random

import pytest
import yaml

from src.run import yaml_scan
from src.run.yaml_scan import find_keys, find_value, scan_keys, walk
from src.run.yaml_text import to_yaml

TEXTS = [
    "adam",
    "a: b",
    "# no comment",
    "1e-3",
    "null",
    "true",
    "0x10",
    "",
    " x",
    "it's",
    'say "x"',
    "a\nb",
    "-",
    "- a",
]
TEXTS += [
    "word " * 40,
    "lr: 3 " * 30,
    "é ☃",
    "01",
    "1_000",
    "*x",
    "&x",
    "!t",
    "%",
    "@",
    "[1, 2]",
    "{a: 1}",
    "~",
    "=",
    ".",
]
NUMBERS = [0, 1, -3, 10**12, 0.0, 0.1, 1e-5, -2.5e30, 1e400, True, False, None]
# What people and other programs write, none of it as to_yaml does.
FOREIGN = [
    "optimizer: {lr: 0.1, name: x}\n",
    "optimizer:\n    lr: 0.1\n    deep:\n        er: 3\n",
    "optimizer: # comment\n  lr: 0.1 # another\n",
    "# lr: 5\noptimizer:\n  lr: 0.1\n",
    "base: &base\n  lr: 0.1\noptimizer:\n  <<: *base\n",
    "x: &x 0.1\noptimizer:\n  lr: *x\n",
    "text: |\n  optimizer:\n    lr: 5\noptimizer:\n  lr: 0.1\n",
    "text: >-\n optimizer:\n   lr: 5\noptimizer:\n  lr: 0.1\n",
    'text: "a\n  lr: 5"\noptimizer:\n  lr: 0.1\n',
    "'optimizer':\n  'lr': 0.1\n",
    '"optimizer":\n  "l\\x72": 0.1\n',
    "optimizer :\n  lr : 0.1\n",
    "? optimizer\n: lr: 0.1\n",
    "---\noptimizer:\n  lr: 0.1\n...\n",
    "optimizer:\n- lr: 5\n- lr: 6\n",
    "items:\n- optimizer:\n    lr: 5\n  lr: 6\noptimizer:\n  lr: 0.1\n",
    "optimizer:\n\n  lr: 0.1",
    "optimizer: [\n  lr, 0.1]\n",
    "optimizer:\n  lr:\n    0.1\n",
    "optimizer:\n  lr: 0.1\n  name:\n    lr: 5\nlr: 7\n",
    "",
    "optimizer:\n",
    "optimizer:\n  lr: !!str 0.1\n",
    "text: a\n b\n\n c\noptimizer:\n  lr: 0.1\n",
    "text: a\n b",
    "optimizer:\n  lr: a\n   b\n",
    "optimizer:\n  lr: |\n   b",
]


def tree(chance, depth=0):
    """A config of random sections, lists and texts."""
    names = chance.sample(
        ["lr", "optimizer", "_target_", "x1", "on", "a/b", "y", "very_long_name_" * 3, "12", "l.r"], 5
    )
    found = {}
    for name in names:
        kind = chance.random()
        if kind < 0.3 and depth < 2:
            found[name] = tree(chance, depth + 1)
        elif kind < 0.5:
            found[name] = [chance.choice([*TEXTS, *NUMBERS, {"lr": 1, "deep": {"lr": 2}}, [1, [2]]]) for _ in range(2)]
        else:
            found[name] = chance.choice([*TEXTS, *NUMBERS, [], {}])
    return found


def truth(node, key):
    for part in key.split("."):
        if not isinstance(node, dict) or part not in node:
            return "absent"
        node = node[part]
    return node


def found(text, key):
    try:
        return find_value(text, key)
    except KeyError:
        return "absent"


def same(a, b):
    return type(a) is type(b) and a == b


def test_every_value_of_a_random_config_is_what_pyyaml_reads():
    for seed in range(120):
        text = to_yaml(tree(random.Random(seed)))
        whole = yaml.safe_load(text)
        keys = {key for key, _ in walk(whole)}
        assert find_keys(text) == keys
        for key in [*keys, "lr", "optimizer.lr", "optimizer.lr.x", "deep.lr", "optimizer.optimizer.lr", "no"]:
            assert same(found(text, key), truth(whole, key)), (seed, key)


@pytest.mark.parametrize("text", FOREIGN)
def test_what_others_write_is_read_as_pyyaml_reads_it(text):
    for key in ("optimizer.lr", "optimizer", "lr", "text", "optimizer.name", "optimizer.deep.er", "items"):
        assert same(found(text, key), truth(yaml.safe_load(text), key)), key


def test_a_real_config_is_never_parsed_as_a_whole(compose, monkeypatch):
    """The fast reading is for the files that runs write; PyYAML would take two hundred times as long."""
    from src.launch.compose import plain

    text = to_yaml(plain(compose("experiment=demo")))
    tree = yaml.safe_load(text)
    assert scan_keys(text) == {key for key, _ in walk(tree)}
    parsed = []
    parse = yaml_scan.parse
    monkeypatch.setattr(yaml_scan, "parse", lambda part: parsed.append(part) or parse(part))
    for key, value in walk(tree):
        assert same(find_value(text, key), value)
    with pytest.raises(KeyError):
        find_value(text, "optimizer.learning_rate")
    assert max(len(part) for part in parsed) < len(text) / 2  # a section at most


def test_a_file_that_is_no_yaml_is_an_error_and_not_an_absent_key():
    with pytest.raises(yaml.YAMLError):
        find_value("optimizer: {lr: ", "optimizer.eps.lr")
    with pytest.raises(yaml.YAMLError):
        find_keys("a: [")
