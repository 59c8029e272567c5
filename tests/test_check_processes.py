"""A run that nobody here could start, or whose processes would read something else, is refused."""

import re

import pytest

from src.check.facts import Facts
from src.check.rules_processes import other_machines_need_a_launcher, processes_are_counted, ranks_read_no_secrets

FACTS = Facts(cuda=False, bf16=False)
DDP = {"_target_": "src.strategy.ddp.DataParallel"}


def config(*, launcher=None, key="<redacted>", **trainer):
    usual = {"devices": 1, "num_nodes": 1, "strategy": "auto"}
    return {"trainer": usual | trainer, "launcher": launcher or {}, "logger": {"wandb": {"api_key": key}}}


@pytest.mark.parametrize(
    ("rule", "settings", "words"),
    [
        (other_machines_need_a_launcher, {"num_nodes": 2}, r"trainer.num_nodes \(2\)"),
        (other_machines_need_a_launcher, {"num_nodes": 2, "launcher": {"nodes": 2}}, None),
        (processes_are_counted, {"strategy": DDP, "devices": "auto"}, r"trainer.devices \(auto\)"),
        (processes_are_counted, {"strategy": DDP, "devices": -1}, r"trainer.devices \(-1\)"),
        (processes_are_counted, {"strategy": DDP, "devices": [0, 2]}, None),
        (processes_are_counted, {"strategy": DDP, "devices": 2}, None),
        (processes_are_counted, {"devices": "auto"}, None),
        (ranks_read_no_secrets, {"strategy": DDP, "devices": 2, "key": "abcdefghij"}, "logger.wandb.api_key"),
        (ranks_read_no_secrets, {"launcher": {"nodes": 1}, "key": "abcdefghij"}, "logger.wandb.api_key"),
        (ranks_read_no_secrets, {"key": "abcdefghij"}, None),  # trains in the process that knows it
        (ranks_read_no_secrets, {"strategy": DDP, "devices": 2, "key": None}, None),
    ],
)
def test_what_the_launcher_cannot_do_is_refused(rule, settings, words):
    sentence = rule(config(**settings), FACTS)
    if words is None:
        assert sentence is None
    else:
        assert re.search(words, sentence)
        assert "abcdefghij" not in sentence
