"""The ranking of a sweep as a table whose rows go and come with the jobs in the charts."""

from collections.abc import Sequence
from pathlib import Path

from src.report.markup import Markup, badge, escape, href, paragraph, section, table
from src.report.scale import short_names
from src.sweep.ranking import Group, Ranking, note, spread
from src.sweep.read import SEED, JobRow
from src.sweep.summary import NAME as SUMMARY

REPORT_NAME = "report.html"


def ranking_section(ranking: Ranking, place: Path) -> str:
    """One row per group, with links to the pages of its jobs. place: the folder of the page."""
    sweep = ranking.sweep
    keys, several = [key for key in sweep.keys if key != SEED], len(sweep.objectives) > 1
    names = short_names(keys)
    rows = []
    for group in ranking.groups:
        rank = ("front" if group.front else "") if several else (group.rank or "")
        means = [spread(group, i) for i in range(len(sweep.objectives))]
        said = Markup(badge(note(group), kind="bad" if group.failed else "warn")) if note(group) else ""
        rows.append([rank, *means, group.n, *(group.params.get(key) for key in keys), _links(group, place), said])
    head = ["" if several else "rank", *sweep.objectives, "n", *(names[key] for key in keys), "jobs", ""]
    numbers = [" ".join(str(job.number) for job in group.jobs) for group in ranking.groups]
    seeds = any(group.n > 1 for group in ranking.groups)
    words = "Mean ± standard deviation over seeds; n is how many of them were measured. " if seeds else ""
    words += "Nothing beats a config on the front in all objectives. " if several else ""
    summary = f'<a href="{href(sweep.path / SUMMARY, place)}">{SUMMARY}</a>'
    return section(
        "Ranking",
        f'<p class="soft">{escape(words)}All numbers of all jobs: {summary}.</p>',
        f'<div class="tall">{_marked(table(head, rows), numbers)}</div>' if rows else paragraph("No job has started."),
    )


def _marked(markup: str, runs: Sequence[str]) -> str:
    """The table with the jobs of each row named, so that rows go and come with the marks in the charts."""
    before, *rows = markup.split('<tr><th scope="row">')
    return before + "".join(f'<tr data-runs="{r}"><th scope="row">{row}' for r, row in zip(runs, rows, strict=True))


def _links(group: Group, place: Path) -> Markup:
    return Markup(", ".join(link(job, place) for job in group.jobs))


def link(job: JobRow, place: Path) -> str:
    """The number of a job, which leads to its page where there is one."""
    report = job.folder / REPORT_NAME
    return f'<a href="{href(report, place)}">{job.number}</a>' if report.is_file() else str(job.number)
