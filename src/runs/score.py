"""How good a run is by its own monitor, and what one can do with it next."""

import re
import shlex
from typing import NamedTuple

from src.errors import UserError
from src.run.index import RunRecord
from src.run.manifest import find_best
from src.run.status import FINISHED
from src.runs.values import MISSING, config_value

MIN, MAX = "min", "max"
_SMALL = frozenset({"loss", "ppl", "perplexity", "bits", "seconds", "bytes", "error", "ece", "brier"})
_LARGE = frozenset({"acc", "accuracy", "f1", "auroc", "precision", "recall", "second", "mfu"})


class Score(NamedTuple):
    """The best value of a run's monitored metric; mode says which is better, min or max."""

    monitor: str
    mode: str
    value: float

    @property
    def key(self) -> float:
        """Smaller is better."""
        return self.value if self.mode == MIN else -self.value


def score_of(record: RunRecord) -> Score | None:
    """From result.json, or from the checkpoints of a run that has none; None where nothing was measured."""
    monitor, mode = config_value(record, "monitor"), config_value(record, "monitor_mode")
    value = record.result.get(monitor)
    if isinstance(value, int | float):
        return Score(monitor, mode, float(value))
    try:
        best = find_best(record.path / "checkpoints")
    except UserError:  # all damaged
        return None
    return None if best is None or best.score is None else Score(best.monitor, best.mode, best.score)


def mode_of(metric: str) -> str | None:
    """Whether a metric is better small or large, by the words of its name; None where they do not tell."""
    words = set(re.split(r"[/_]", metric.lower()))
    if words & _SMALL:
        return MIN
    return MAX if words & _LARGE else None


def commands(record: RunRecord) -> dict[str, str]:
    """Command lines to go on with, ready for a shell."""
    run = shlex.quote(f"run={record.path}")
    found = {"evaluate": f"python -m src.evaluate {run} split=val"}
    if "language_model" in str(config_value(record, "task._target_")):
        found["generate"] = f'python -m src.generate {run} prompt="This film"'
    else:
        found["predict"] = f'python -m src.predict {run} text="A film that I enjoyed."'
    resume = f"python -m src.train {shlex.quote(f'resume={record.path}')}"
    length, longer = _longer(record)
    found["resume"] = f"{resume} {length}={longer}" if record.state == FINISHED and longer else resume
    return found


def _longer(record: RunRecord) -> tuple[str, int | None]:
    """The setting that ended a finished run, and twice its value."""
    for key in ("trainer.max_epochs", "trainer.max_steps"):
        value = config_value(record, key)
        if value is not MISSING and isinstance(value, int) and value > 0:
            return key, 2 * value
    return "", None
