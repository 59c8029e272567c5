"""What the notebooks share: the path to `src`, assertions that print what they prove, one look for all figures."""

import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import plotly.io

ROOT = Path(__file__).resolve().parents[1]
IMDB = ROOT.parent / "shared" / "data" / "imdb"  # a local copy of stanfordnlp/imdb, where there is one
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
TEMPORARY = tempfile.TemporaryDirectory(prefix="notebook-")  # what a notebook writes goes with its kernel
# Lightning and torch speak of things that a page of ten batches need not care about.
warnings.filterwarnings("ignore", module=r"lightning|torch")
warnings.filterwarnings("ignore", message="IProgress not found")  # of tqdm, whose bars nobody needs here

COLORS = ["#2f6fb0", "#d1662f", "#3c8d5a", "#8a5fb5", "#b0903a", "#5c6b7a"]
plotly.io.templates["chapter"] = go.layout.Template(
    layout={
        "width": 700,
        "height": 420,
        "font": {"family": "system-ui, sans-serif", "size": 13},
        "colorway": COLORS,
        "plot_bgcolor": "white",
        "xaxis": {"gridcolor": "#e6e9ec", "zerolinecolor": "#c5ccd3"},
        "yaxis": {"gridcolor": "#e6e9ec", "zerolinecolor": "#c5ccd3"},
        "margin": {"l": 60, "r": 20, "t": 50, "b": 50},
    }
)
plotly.io.templates.default = "chapter"


def check(name: str, value: float, expected: float, *, places: int) -> None:
    """Print `value` beside `expected`, a number of the chapter; raise unless they are equal after rounding."""
    if round(float(value), places) != round(float(expected), places):
        raise AssertionError(f"{name}: {value} is not {expected} to {places} decimal places")
    print(f"{name}: {float(value):.{places}f} = {float(expected):.{places}f}")


def agree(name: str, one: object, other: object, *, tolerance: float) -> None:
    """Print the largest difference of two arrays of one shape; raise if it is above `tolerance`."""
    first, second = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if first.shape != second.shape:
        raise AssertionError(f"{name}: shapes {first.shape} and {second.shape} differ")
    difference = float(np.abs(first - second).max(initial=0.0))
    if not difference <= tolerance:  # NaN is no agreement
        raise AssertionError(f"{name}: differ by {difference:.2e}, more than {tolerance:.0e}")
    print(f"{name}: largest difference {difference:.1e} <= {tolerance:.0e}")


def train(*overrides: str) -> Path:
    """Run `python -m src.train` with these overrides as a reader would type them; returns its run folder."""
    folder = Path(tempfile.mkdtemp(dir=TEMPORARY.name)) / "run"
    command = [sys.executable, "-m", "src.train", *overrides, f"hydra.run.dir={folder}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return folder


def compose(*overrides: str, door: str = "train") -> Any:
    """What Hydra makes of conf/<door>.yaml and these overrides; outputs go to a temporary folder."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    from src.launch.compose import CONFIG_FOLDER, register_resolvers

    register_resolvers()
    outputs = tempfile.mkdtemp(dir=TEMPORARY.name)
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        return hydra_compose(door, overrides=[*overrides, f"paths.output_dir={outputs}"])


def config(*overrides: str) -> dict[str, Any]:
    """The checked, resolved config that `python -m src.train` would train with; `src.launch.build` makes its parts."""
    from src.launch.preflight import preflight

    composed = compose(*overrides)
    return preflight(composed, run_dir=f"{composed.paths.output_dir}/run")
