"""The overhead benchmark trains the same steps on both sides, ours as `src.train` does; no test looks at a time."""

import lightning
import pytest
import torch

from src.benchmark.overhead import BARE, OURS, Fit, compare, make_rows
from src.callbacks.checkpoint import Checkpoint
from src.errors import UserError
from src.launch import overhead
from src.launch.benchmarking import run_suite
from src.launch.compose import register_resolvers
from src.run.manifest import committed

OVERRIDES = ["data=demo", "data.reader.num_reviews=200", "data.batch_size=32", "model.width=8", "model.hidden=8"]
OVERRIDES += ["trainer.accelerator=cpu", "precision=fp32", "trainer.max_epochs=2"]


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """Per trainer that was made: its callbacks, the final weights, and the checkpoints and rows in the run folder."""
    register_resolvers()
    seen, fit = [], lightning.Trainer.fit

    def watched(trainer, task, **options):
        fit(trainer, task, **options)
        folder = next((saver.folder for saver in trainer.callbacks if isinstance(saver, Checkpoint)), tmp_path)
        names = {type(callback).__name__ for callback in trainer.callbacks}
        steps = [manifest.step for manifest in committed(folder)]
        seen.append((names, [value.clone() for value in task.parameters()], steps, trainer.loggers))

    monkeypatch.setattr(lightning.Trainer, "fit", watched)
    return seen


def test_both_sides_train_the_same_steps_and_ours_saves_every_epoch(trained, tmp_path):
    """Without dropout the weights are the same to the bit: nothing that ours adds touches the arithmetic."""
    overrides = [*OVERRIDES, "model.dropout=0", f"paths.output_dir={tmp_path}"]
    rows = compare(contenders=overhead.contenders, overrides=overrides, rounds=1)
    assert [(row["trained by"], row["steps"]) for row in rows] == [(BARE, 10), (OURS, 10)]
    ours, bare = trained[:2]
    assert bare[0] == {"Watch"}
    assert {"Checkpoint", "EarlyStopping", "Throughput", "StepSeed", "Interruption", "Watch"} <= ours[0]
    assert (ours[2], bare[2]) == ([5, 10], [])
    assert (len(ours[3]), bare[3]) == (1, [])
    assert all(torch.equal(*pair) for pair in zip(ours[1], bare[1], strict=True))


def test_a_run_that_ends_early_is_not_compared(tmp_path):
    stops = ["optimizer.lr=0", "callbacks.early_stopping.patience=1", "trainer.max_epochs=3"]
    overrides = [*OVERRIDES, f"paths.output_dir={tmp_path}", *stops]
    register_resolvers()
    with pytest.raises(UserError, match=r"trainer\.max_epochs lower in suite\.overrides"):
        compare(contenders=overhead.contenders, overrides=overrides, rounds=1)


def test_the_ratios_are_of_the_best_and_of_neighbouring_rounds():
    """Two rounds by hand, the machine ten times slower in the second one."""
    timings = {BARE: [Fit(10, 1.0, 1.0), Fit(10, 10.0, 1.0)], OURS: [Fit(10, 1.1, 1.02), Fit(10, 12.0, 1.03)]}
    bare, ours = make_rows(timings)
    assert bare["ms/step"] == pytest.approx(100)
    assert bare["median"] == pytest.approx(550)
    assert ours["over bare %"] == pytest.approx(10)
    assert ours["median over bare %"] == pytest.approx(15)
    assert ours["processor over bare %"] == pytest.approx(2)


@pytest.mark.parametrize("typed", ["data.path=/x", "data=demo", "seed=1"])
def test_a_suite_refuses_what_it_would_ignore(compose, typed):
    composed = compose("suite=overhead", typed, config_name="benchmark")
    with pytest.raises(UserError, match=f"{typed} would be ignored by suite=overhead; .*suite.overrides"):
        run_suite(composed, typed=[typed, "suite.rounds=1"])
