"""The language-model benchmark compares equal work in separate processes; no test looks at a time."""

import importlib.util
import json
import subprocess
import sys
from functools import partial

import pytest
import torch

from src.benchmark import lm, lm_process, lm_transformers
from src.benchmark.lm import PLAIN, Contender, compare, make_rows, measure
from src.benchmark.lm_ours import make_block
from src.benchmark.lm_process import TrainingProcess
from src.benchmark.lm_transformers import RandomTokens, make_model
from src.errors import UserError
from src.model.transformer import Transformer

SIZES = {"vocab_size": 32, "width": 8, "num_layers": 2, "num_heads": 2, "feed_forward_width": 12, "max_length": 6}


def test_both_sides_train_a_model_of_the_same_weights():
    """Name by name their matrices have the same number of numbers in all, so no side computes less."""
    theirs = sum(parameter.numel() for parameter in make_model(SIZES).parameters())
    assert theirs == sum(parameter.numel() for parameter in Transformer(**SIZES).parameters())


def test_both_sides_read_the_same_number_of_tokens_a_step():
    """Ours cuts B * T + 1 tokens into B rows whose targets are the next tokens; theirs takes B windows of T."""
    block = RandomTokens(partial(make_block, batch_size=3), vocab_size=9, length=3 * 5 + 1)[7]
    assert block.ids.shape == block.targets.shape == (3, 5)
    assert torch.equal(block.ids.flatten()[1:], block.targets.flatten()[:-1])
    assert block.num_tokens == 15
    assert not block.documents.any()
    assert RandomTokens(lambda tokens: tokens, vocab_size=9, length=5)[100_003].tolist() == block_start(5)


def block_start(length):
    return RandomTokens(lambda tokens: tokens, vocab_size=9, length=length)[3].tolist()


def test_the_suite_gives_a_row_per_contender(monkeypatch):
    """The real processes of both sides at a tiny size, uncompiled; every ratio follows from the rows' own speeds."""
    two = [PLAIN, Contender(ours=True, bf16=False, compiled=False)]
    monkeypatch.setattr(lm, "contenders", lambda *, compiled: two)
    theirs, ours = compare(**SIZES, batch_size=2, rounds=1, steps=2, compiled=False, same_environment=True)
    assert (theirs["recipe"], ours["recipe"]) == ("transformers Trainer", "this project")
    for row in (theirs, ours):
        assert row["tokens/s"] == row["median"] > 0
        assert row["x transformers fp32"] == pytest.approx(row["tokens/s"] / theirs["tokens/s"])


def test_every_contender_has_a_rival_of_its_kind(monkeypatch):
    """In each precision both sides train, and where one is compiled the other is."""
    for units in ([], ["amx_bf16"]):
        monkeypatch.setattr(lm, "describe_processor", lambda units=units: {"bf16_units": units})
        for compiled in (False, True):
            found = lm.contenders(compiled=compiled)
            ours = {contender[1:] for contender in found if contender.ours}
            assert ours == {contender[1:] for contender in found if not contender.ours}
            assert PLAIN in found
            assert any(contender.compiled for contender in found) == compiled
            if not torch.cuda.is_available():
                assert any(contender.bf16 for contender in found) == bool(units)


def test_ratios_take_best_rounds_and_the_fastest_rival():
    """By hand, 100 tokens a round: fp32 4 s and 5 s, their bf16 2 s, ours 1 s and 3 s."""
    rival, ours = Contender(False, True, False), Contender(True, True, False)
    rows = make_rows({PLAIN: [5.0, 4.0], rival: [2.0, 2.0], ours: [1.0, 3.0]}, tokens=100)
    assert [row["tokens/s"] for row in rows] == [25, 50, 100]
    assert [row["median"] for row in rows] == pytest.approx([100 / 4.5, 50, 50])
    assert [row["x transformers fp32"] for row in rows] == [1, 2, 4]
    assert [row["x transformers at its best"] for row in rows] == [0.5, 1, 2]


def test_everyone_goes_first_in_turn_and_the_warm_up_does_not_count():
    calls = []

    class Process:
        def __init__(self, name):
            self.name = name

        def train(self):
            calls.append(self.name)
            return float(len(calls))

    keys = [PLAIN, Contender(True, False, False)]
    seconds = measure(dict(zip(keys, map(Process, "ab"), strict=True)), rounds=2)
    assert "".join(calls) == "abbaab"
    assert seconds == {keys[0]: [4.0, 5.0], keys[1]: [3.0, 6.0]}


@pytest.mark.parametrize("package", ["transformers", "accelerate"])
def test_without_the_other_side_the_suite_says_what_to_install(package, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(lm.importlib.util, "find_spec", lambda name: None if name == package else found(name))
    with pytest.raises(UserError, match=f"{package}, which is not installed; install"):
        compare(**SIZES, batch_size=2, rounds=1, steps=2, compiled=False, same_environment=False)


@pytest.mark.parametrize(
    ("ours", "same_environment", "kept"), [(False, False, False), (False, True, True), (True, False, True)]
)
def test_only_our_side_gets_this_projects_environment_unless_asked(ours, same_environment, kept, monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    started = []
    monkeypatch.setattr(lm_process.subprocess, "Popen", lambda *_, env, **__: started.append(env))
    TrainingProcess(ours=ours, same_environment=same_environment)
    assert ("OMP_WAIT_POLICY" in started[0]) == kept
    assert "PATH" in started[0]


def test_a_training_that_dies_is_an_error_and_not_a_wait(tmp_path, monkeypatch):
    (tmp_path / "broken.py").write_text("import sys\nsys.exit(3)\n")
    monkeypatch.setattr(lm_process.lm_transformers, "__file__", str(tmp_path / "broken.py"))
    with (
        TrainingProcess(ours=False, same_environment=True) as process,
        pytest.raises(RuntimeError, match="code 3"),
    ):
        process.parameters()


def test_the_other_side_knows_nothing_of_this_project():
    """Importing its file by path loads no module of src, so its process runs with torch's own settings."""
    found = "[name for name in sys.modules if name.startswith('src')]"
    code = f"import json, runpy, sys; runpy.run_path(sys.argv[1]); print(json.dumps({found}))"
    command = [sys.executable, "-c", code, lm_transformers.__file__]
    assert json.loads(subprocess.run(command, capture_output=True, text=True, check=True, cwd="/").stdout) == []
