"""What a person sees: the config as a tree at the start, the metrics as a table at the end."""

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.tree import Tree


def show_config(config: dict[str, Any], *, title: str) -> None:
    """Print the resolved config, one branch per section."""
    tree = Tree(title, highlight=False)
    for key, value in config.items():
        grow(tree, key, value)
    wide_console().print(tree)


def wide_console() -> Console:
    """The terminal as it is; a file has no width, and nothing must be cut there."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 200
    return console


def grow(branch: Tree, key: str, value: Any) -> None:
    """Add one key; a dict becomes a branch of its own."""
    if isinstance(value, dict) and value:
        child = branch.add(str(key))
        for name, inner in value.items():
            grow(child, name, inner)
    else:
        branch.add(f"{key}: {value}".replace("[", r"\["))


def show_metrics(splits: dict[str, dict[str, float]]) -> None:
    """Print val and test side by side, one row per metric, its 95 % interval behind it."""
    table = Table("metric", *splits)
    rows = (name for metrics in splits.values() for name, value in metrics.items() if isinstance(value, float))
    names = dict.fromkeys(name.split("/", 1)[1] for name in rows)
    for name in names:
        if not name.endswith(("_low", "_high")):
            table.add_row(name, *(_cell(metrics, f"{split}/{name}") for split, metrics in splits.items()))
    Console().print(table)


def _cell(metrics: dict[str, float], key: str) -> str:
    value, low, high = (metrics.get(name) for name in (key, f"{key}_low", f"{key}_high"))
    if not isinstance(value, float):
        return ""
    known = isinstance(low, float) and isinstance(high, float)
    return f"{value:.4f} ({low:.3f} to {high:.3f})" if known else f"{value:.4f}"


def show_threshold(result: dict[str, Any]) -> None:
    """Print the decision threshold chosen on val and the metrics of both splits there, or why there is none."""
    if "threshold" not in result:
        return
    if result["threshold"] is None:
        print(f"no threshold: {result.get('threshold_note', 'none was chosen')}")
        return
    print(f"threshold {result['threshold']:.4f}, chosen on val by {result.get('threshold_rule', 'f1')}")
    for split in ("val", "test"):
        names = [name for name in result if name.startswith(f"{split}_at_threshold/")]
        figures = "  ".join(f"{name.rpartition('/')[2]} {_number(result[name])}" for name in names)
        if figures:
            print(f"  {split}: {figures}")


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4g}"


def show_rows(rows: list[dict[str, Any]]) -> None:
    """Print a list of records as a table; numbers keep four significant digits."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = Table(*columns)
    for row in rows:
        table.add_row(*(f"{row[c]:.4g}" if isinstance(row.get(c), float) else str(row.get(c, "")) for c in columns))
    wide_console().print(table)
