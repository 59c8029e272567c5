"""The jobs of a sweep as lines: their colours from best to worst, their curves, their places on the axes."""

from collections.abc import Sequence

from src.report.overlay import Shown, scaled
from src.report.parallel import Axis
from src.report.scale import fit, of_words, short_names
from src.run.metrics import read_rows
from src.run.waiting import in_threads
from src.sweep.axes import Real, Whole
from src.sweep.importance import as_number
from src.sweep.read import JobRow, Sweep
from src.sweep.space import read_space


def drawn_jobs(sweep: Sweep) -> list[Shown]:
    """All jobs with their curves, from the worst to the best, so that the best is drawn on top."""
    sign, names = sweep.signs[0], short_names(sweep.keys)
    costs = {job.number: sign * job.values[0] for job in sweep.jobs if job.values is not None}
    order = sorted(costs, key=lambda number: (costs[number], number))
    shares = {number: place / max(1, len(order) - 1) for place, number in enumerate(order)}
    jobs = sorted(sweep.jobs, key=lambda job: -shares.get(job.number, 2.0))
    rows = in_threads(lambda job: read_rows(job.folder / "metrics.csv"), jobs)
    return [
        Shown(number=job.number, name=_name(job, names), look=scaled(shares.get(job.number)), rows=found)
        for job, found in zip(jobs, rows, strict=True)
    ]


def _name(job: JobRow, names: dict[str, str]) -> str:
    return f"{job.number}  " + " ".join(f"{names[key]}={text}" for key, text in job.params.items())


def axes_of(sweep: Sweep, jobs: Sequence[Shown]) -> list[Axis]:
    """One axis per swept key that varies, then one per objective; their places go along with `jobs`."""
    by_number = {job.number: job for job in sweep.jobs}
    rows = [by_number[job.number] for job in jobs]
    varied = [key for key in sweep.keys if len({job.params.get(key) for job in rows}) > 1]
    names = short_names(varied)
    axes = [_swept(sweep, key, names[key], [job.params.get(key) for job in rows]) for key in varied]
    for place, (name, direction) in enumerate(sweep.objectives.items()):
        values = [None if job.values is None else job.values[place] for job in rows]
        scale = fit([value for value in values if value is not None])
        places = [None if value is None else scale.share(value) for value in values]
        better = "more is better" if direction == "maximize" else "less is better"
        axes.append(Axis(name=name, full=f"{name}, {better}", scale=scale, places=places, note=better))
    return axes


def _swept(sweep: Sweep, key: str, name: str, texts: Sequence[str | None]) -> Axis:
    numbers = [as_number(text) for text in texts if text is not None]
    found = [number for number in numbers if number is not None]
    if len(found) == len(numbers):
        scale = fit(found, each=True, log=_searched_by_logarithm(sweep, key))
        places = [None if text is None else scale.share(float(text)) for text in texts]
    else:
        typed = (sweep.facts.get("axes") or {}).get(key)
        there = [text for text in texts if text is not None]
        order = [str(word) for word in typed] if isinstance(typed, list) else sorted(set(there))
        words = [word for word in dict.fromkeys([*order, *there]) if word in there]
        scale = of_words(words)
        places = [None if text is None else scale.share(words.index(text)) for text in texts]
    return Axis(name=name, full=key, scale=scale, places=places)


def _searched_by_logarithm(sweep: Sweep, key: str) -> bool | None:
    """As the axis of a search was drawn; None where the values tell."""
    axis = read_space(sweep.facts["axes"]).get(key) if sweep.facts.get("kind") == "search" else None
    return axis.log if isinstance(axis, Real | Whole) else None
