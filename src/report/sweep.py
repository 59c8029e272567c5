"""The page of a sweep: ranking, axes side by side, importances, course, curves, failures; it links its jobs' pages."""

from collections.abc import Sequence
from pathlib import Path

from src.report.markup import Markup, badge, escape, folded, grid, paragraph, preformatted, section, table, tiles
from src.report.overlay import Shown, legend, overlay
from src.report.page import page
from src.report.parallel import parallel
from src.report.progress import Measured, against, bars, course
from src.report.sweep_jobs import axes_of, drawn_jobs
from src.report.sweep_ranking import REPORT_NAME, link, ranking_section
from src.run.files import write_text
from src.run.secrets import redact_arguments
from src.run.status import FINISHED, PRUNED
from src.sweep.best import NAME as BEST
from src.sweep.importance import weigh
from src.sweep.ranking import Ranking, margin, number, rank_jobs
from src.sweep.read import JobRow, Sweep, read


def write_sweep_report(sweep: Path, path: Path | None = None) -> Path:
    """Write the page of a sweep and return its path; raises UserError if that is no sweep.

    path: where to, report.html in the sweep folder if it is not given.
    """
    path = path or Path(sweep) / REPORT_NAME
    text = render(read(Path(sweep)), place=path.parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
    return path


def render(sweep: Sweep, *, place: Path) -> str:
    """The page as text. place: the folder in which it will be, from which its links lead."""
    ranking = rank_jobs(sweep)
    jobs = drawn_jobs(sweep)
    title = sweep.path.resolve().name
    sections = [
        ranking_section(ranking, place),
        section("Parallel coordinates", parallel(axes_of(sweep, jobs), jobs)) if len(jobs) > 1 else "",
        _importance_section(sweep),
        _course_section(ranking, jobs),
        _curves_section(sweep, jobs),
        _failures_section(sweep, place),
        _best_section(sweep),
        _record_section(sweep),
    ]
    return page(title, sections, header=_header(sweep, ranking))


def _header(sweep: Sweep, ranking: Ranking) -> str:
    states = [job.state for job in sweep.jobs]
    total, failed = sweep.total, len(_failures(sweep))
    done, pruned = states.count(FINISHED), states.count(PRUNED)
    over = total is not None and sum(job.ended for job in sweep.jobs) >= total
    badges = [badge("all jobs ended", kind="good") if over else badge("not over yet", kind="warn")]
    badges += [badge(f"{failed} failed", kind="bad")] if failed else []
    best = next((group for group in ranking.groups if group.n), None)
    names = list(enumerate(sweep.objectives))
    found = [(name + margin(best, i), number(best.mean[i]), "val") for i, name in names if best is not None]
    seconds = sum(float(job.result.get("seconds") or 0.0) for job in sweep.jobs)
    goals = ", ".join(f"{direction} {name}" for name, direction in sweep.objectives.items())
    created = str(sweep.facts.get("created", ""))[:16].replace("T", " ")
    about = " · ".join(word for word in (sweep.facts.get("kind"), f"{len(states)} jobs", goals, created) if word)
    numbers = tiles(
        *found,
        (f"of {total or len(states)} jobs finished", done, ""),
        ("pruned", pruned or None, ""),
        ("failed", failed or None, ""),
        ("of training", _duration(seconds) if seconds else None, ""),
    )
    title = f"<h1>{escape(sweep.path.resolve().name)} {' '.join(badges)}</h1>"
    return f'<header>{title}<p class="soft">{escape(about)}</p></header>\n{numbers}'


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _importance_section(sweep: Sweep) -> str:
    if not any(job.values for job in sweep.jobs):
        return ""
    parts = []
    for place, name in enumerate(sweep.objectives):
        found = weigh(sweep, place)
        head = f"<h3>{escape(name)}</h3>" if len(sweep.objectives) > 1 else ""
        parts.append(head + bars(found.shares) + paragraph(found.sentence, kind="soft"))
    return section("What decided", *parts)


def _course_section(ranking: Ranking, jobs: Sequence[Shown]) -> str:
    sweep = ranking.sweep
    shown = {job.number: job for job in jobs}
    measured = [Measured(job=shown[job.number], values=job.values or ()) for job in sweep.jobs]
    charts = [
        course(measured, name=name, place=place, sign=sweep.signs[place]) for place, name in enumerate(sweep.objectives)
    ]
    if len(sweep.objectives) > 1:
        front = [job.number for group in ranking.groups if group.front for job in group.jobs]
        charts.append(against(measured, list(sweep.objectives), front=front))
    return section("Course of the sweep", grid(*charts))


def _curves_section(sweep: Sweep, jobs: Sequence[Shown]) -> str:
    charts = overlay(jobs)
    if not charts:
        return ""
    words = f"Colours follow {next(iter(sweep.objectives))}: from the best, blue, to the worst, orange."
    in_order = sorted(jobs, key=lambda job: job.number)
    return section("Learning curves", legend(in_order, note=words), charts)


def _failures(sweep: Sweep) -> list[JobRow]:
    return [job for job in sweep.jobs if job.values is None and job.ended and job.state != PRUNED]


def _failures_section(sweep: Sweep, place: Path) -> str:
    def rows(jobs: Sequence[JobRow]) -> list[list[object]]:
        return [[Markup(link(j, place)), j.state, j.reason or "no reason was written", _settings(j)] for j in jobs]

    head = ["job", "state", "reason", "what it had of its own"]
    others = [job for job in sweep.jobs if job.values is None and not job.ended]
    pruned = [job for job in sweep.jobs if job.state == PRUNED]
    return section(
        "Jobs without a result",
        table(head, rows(_failures(sweep))),
        folded(f"{len(pruned)} pruned", table(head, rows(pruned))),
        folded(f"{len(others)} not done", table(head, rows(others))),
    )


def _settings(job: JobRow) -> str:
    return " ".join(f"{key}={text}" for key, text in job.params.items())


def _best_section(sweep: Sweep) -> str:
    path = sweep.path / BEST
    if not path.is_file():
        return ""
    words = f"{BEST}, an experiment of this config; its comment has the command that trains and tests it."
    return section("Best config", paragraph(words), preformatted(path.read_text(encoding="utf-8")))


def _record_section(sweep: Sweep) -> str:
    facts = sweep.facts
    command = redact_arguments(["python", "-m", "src.train", *map(str, facts.get("command") or [])])
    axes = [(key, ", ".join(map(str, a)) if isinstance(a, list) else a) for key, a in (facts.get("axes") or {}).items()]
    others = [
        (name, str(facts[name])) for name in ("sampler", "pruner", "seed", "study") if facts.get(name) is not None
    ]
    return section("Record", preformatted(command), table(["axis", "values"], axes), table([], others))
