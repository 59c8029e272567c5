"""Which of several runs is best, and whether that is more than chance: on the same rows, and over seeds."""

from collections.abc import Sequence

from src.evaluation.paired import compare, differing_data, seeds
from src.report.compared import Config, Run
from src.report.markup import paragraph, shown
from src.run.files import read_json
from src.run.folder import RunFolder
from src.run.predictions import Predictions, read_predictions
from src.runs.score import MIN

_CANNOT = "Whether the difference is real cannot be told"


def verdict(configs: Sequence[Config]) -> list[str]:
    """Paragraphs: the best run, its difference to the best one of another config, the difference over seeds."""
    runs = [run for config in configs for run in config.runs]
    scored = [run for run in runs if run.score is not None]
    monitors = {(run.score.monitor, run.score.mode) for run in scored if run.score is not None}
    if not scored:
        return [paragraph("No run has measured what it monitors, so that none is the best.", kind="missing")]
    if len(monitors) > 1:
        words = ", ".join(sorted(monitor for monitor, _ in monitors))
        return [paragraph(f"The runs monitor different metrics ({words}), so that none is the best.", kind="missing")]
    monitor, mode = monitors.pop()
    order = sorted(scored, key=_cost)
    first, second = order[0], _second(order, configs)
    goal = "lowest" if mode == MIN else "highest"
    assert first.score is not None
    parts = [f"{first.letter} has the {goal} {monitor}, {shown(first.score.value)}."]
    if second is not None:
        assert second.score is not None
        other = "of another config" if len(configs) > 1 else "of the other seeds"
        parts.append(f"The best {other} is {second.letter} with {shown(second.score.value)}.")
    said = [paragraph(" ".join(parts), kind="words good")]
    if second is not None:
        said.append(paragraph(rows_words(first, second)))
    return said + [paragraph(text) for text in _over_seeds(configs, monitor, mode)]


def _cost(run: Run) -> float:
    assert run.score is not None
    return run.score.key


def _second(order: Sequence[Run], configs: Sequence[Config]) -> Run | None:
    """The best run of another config than the first one's; the next seed where there is one config only."""
    own = next(config for config in configs if order[0] in config.runs)
    others = [run for run in order[1:] if len(configs) == 1 or run not in own.runs]
    return others[0] if others else None


def rows_words(first: Run, second: Run) -> str:
    """The paired test between two runs, on test where both have met it, else on val; or why there is none."""
    for split in ("test", "val"):
        try:
            found = [_predictions(run, split) for run in (first, second)]
        except ValueError as error:
            return f"{_CANNOT}: {error}."
        a, b = found
        if a is not None and b is not None:
            break
    else:
        return f"{_CANNOT}: {first.letter} and {second.letter} have no predictions of the same split."
    data = [(read_json(run.record.path / "env.json") or {}).get("data") or {} for run in (first, second)]
    reason = differing_data(*data, split=split)
    if reason is not None:
        return f"{_CANNOT}: {reason}."
    try:
        result = compare(a, b, names=(first.letter, second.letter))
    except ValueError as error:
        return f"{_CANNOT}: {error}."
    accuracy = f"Accuracy on {split}: {first.letter} {result.a_accuracy:.4f}, {second.letter} {result.b_accuracy:.4f}"
    interval = f"95 % interval of {second.letter} - {first.letter} from {result.low:+.4f} to {result.high:+.4f}"
    return f"{accuracy}, {interval}. {result.sentence}"


def _predictions(run: Run, split: str) -> Predictions | None:
    folder = RunFolder(run.record.path)
    return read_predictions(folder.predictions_test if split == "test" else folder.predictions_val)


def _over_seeds(configs: Sequence[Config], monitor: str, mode: str) -> list[str]:
    """The two best configs by the mean over their seeds, where both have several."""
    several = [config for config in configs if len(config.scores) > 1]
    if len(several) < 2:
        return []
    sign = 1 if mode == MIN else -1
    a, b = sorted(several, key=lambda config: sign * sum(config.scores) / len(config.scores))[:2]
    return [f"{monitor} of {a.name} and {b.name}: {seeds(a.scores, b.scores).sentence}"]
