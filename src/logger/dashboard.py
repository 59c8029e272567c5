"""The project's W&B workspace and report as code: `python -m src.runs dashboard project=NAME`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from src.errors import UserError
from src.run.files import read_json, write_json, write_text

OPTIONS = ("project", "entity", "spec")
KEPT = Path("outputs/wandb_dashboard.json")  # the addresses of what was made, so that it is changed and not made twice
NAME = "One recipe"
# Title to metrics, as our tasks and callbacks log them.
CURVES: dict[str, tuple[str, ...]] = {
    "Loss": ("train/loss", "val/loss"),
    "Accuracy": ("val/acc", "val/f1"),
    "Precision and recall": ("val/precision", "val/recall"),
    "Perplexity": ("val/ppl",),
}
TRAINING: dict[str, tuple[str, ...]] = {
    "Learning rate": ("train/learning_rate",),
    "Gradient norm": ("train/gradient_norm",),
    "Tokens per second": ("throughput/tokens_per_second",),
}
RESULTS = ("test/acc", "test/f1", "val/loss")
AXES = ("optimizer.lr", "model.hidden", "model.dropout", "val/loss")


def main(words: Sequence[str]) -> None:
    """Create workspace and report, or change those that this command made before; spec=FILE only writes what they are.

    Raises:
        UserError: an unknown word, no project, no package or no key.
    """
    typed = dict(word.partition("=")[::2] for word in words)
    unknown = [name for name in typed if name not in OPTIONS]
    if unknown or not typed.get("project"):
        problem = f"{unknown[0]} is no setting" if unknown else "project is missing"
        raise UserError(f"dashboard: {problem}; type project=NAME, and if you like entity=NAME or spec=FILE.")
    try:
        import wandb_workspaces.reports.v2 as reports
        import wandb_workspaces.workspaces as workspaces
    except ImportError:
        raise UserError("dashboard needs the package wandb-workspaces: pip install -e '.[wandb]'.") from None
    project, entity = typed["project"], typed.get("entity", "")
    sections = sections_of(workspaces, reports)
    if "spec" in typed:
        space = workspaces.Workspace(entity=entity or "me", project=project, name=NAME, sections=sections)
        specification = json.loads(space._to_model().model_dump_json())
        write_text(Path(typed["spec"]), json.dumps(specification, indent=2) + "\n")
        print(typed["spec"])
        return
    owner = entity or own_entity()
    kept = (read_json(KEPT) or {}).get(f"{owner}/{project}") or {}
    if kept:
        space = workspaces.Workspace.from_url(kept["workspace"])
    else:
        space = workspaces.Workspace(entity=owner, project=project, name=NAME)
    space.sections = sections
    space.save()
    page = (
        reports.Report.from_url(kept["report"]) if kept else reports.Report(project=project, entity=owner, title=NAME)
    )
    page.blocks = blocks_of(reports, project=project, entity=owner)
    page.save()
    KEPT.parent.mkdir(exist_ok=True)
    write_json(KEPT, {**(read_json(KEPT) or {}), f"{owner}/{project}": {"workspace": space.url, "report": page.url}})
    print(f"workspace  {space.url}\nreport     {page.url}")


def own_entity() -> str:
    """Whose key it is. Raises UserError when there is none."""
    import wandb

    if not wandb.api.api_key:
        raise UserError("dashboard needs a key of W&B: run `wandb login`, or set WANDB_API_KEY. spec=FILE needs none.")
    return str(wandb.Api().default_entity)


def sections_of(workspaces: Any, reports: Any) -> list[Any]:
    """Learning curves, training, results, sweeps, and the tables of predictions and samples."""
    charts = {"Learning curves": CURVES, "Training": TRAINING}
    found = [
        workspaces.Section(name=name, is_open=True, panels=lines(reports, curves)) for name, curves in charts.items()
    ]
    bars = [reports.BarPlot(title=metric, metrics=[metric], orientation="h") for metric in RESULTS]
    found.append(workspaces.Section(name="Results", panels=bars, is_open=True))
    found.append(workspaces.Section(name="Sweep", panels=sweep_panels(reports)))
    keys = [f"{split}/{name}" for split in ("val", "test") for name in ("confusion_matrix", "precision_recall", "roc")]
    tables = [reports.WeavePanelSummaryTable(table_name=name) for name in (*keys, "samples")]
    found.append(workspaces.Section(name="Predictions and samples", panels=tables))
    return found


def lines(reports: Any, curves: dict[str, tuple[str, ...]]) -> list[Any]:
    """A chart over optimizer steps for each title."""
    return [reports.LinePlot(title=title, x="Step", y=list(metrics)) for title, metrics in curves.items()]


def sweep_panels(reports: Any) -> list[Any]:
    """Parallel coordinates, and what the monitored loss depends on."""
    columns = [
        reports.ParallelCoordinatesPlotColumn(metric=reports.SummaryMetric(axis) if "/" in axis else f"c::{axis}")
        for axis in AXES
    ]
    return [
        reports.ParallelCoordinatesPlot(columns=columns, title="Sweep"),
        reports.ParameterImportancePlot(with_respect_to="val/loss"),
    ]


def blocks_of(reports: Any, *, project: str, entity: str) -> list[Any]:
    """The report: curves of all runs, and their results."""
    runs = reports.Runset(project=project, entity=entity, name="all runs")
    return [
        reports.H1("Learning curves"),
        reports.PanelGrid(runsets=[runs], panels=lines(reports, CURVES)),
        reports.H1("Results"),
        reports.PanelGrid(runsets=[runs], panels=[reports.BarPlot(metrics=[metric]) for metric in RESULTS]),
    ]
