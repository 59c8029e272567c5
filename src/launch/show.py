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
    """Print val and test side by side, one row per metric."""
    table = Table("metric", *splits)
    rows = (name for metrics in splits.values() for name, value in metrics.items() if isinstance(value, float))
    names = dict.fromkeys(name.split("/", 1)[1] for name in rows)
    for name in names:
        cells = (metrics.get(f"{split}/{name}") for split, metrics in splits.items())
        table.add_row(name, *(f"{cell:.4f}" if isinstance(cell, float) else "" for cell in cells))
    Console().print(table)


def show_rows(rows: list[dict[str, Any]]) -> None:
    """Print a list of records as a table; numbers keep four significant digits."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = Table(*columns)
    for row in rows:
        table.add_row(*(f"{row[c]:.4g}" if isinstance(row.get(c), float) else str(row.get(c, "")) for c in columns))
    wide_console().print(table)
