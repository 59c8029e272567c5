"""Which strategy goes with which precision, clipping, accumulation and compilation: tried, not claimed.

    python -m tests.matrix            # runs what a CPU can run, with 2 and 4 processes, and writes docs/strategies.md

A cell is refused if the rules of src.check refuse it on a machine that has GPUs, with their sentence; else, if a CPU
can, it is trained by several ranks and compared with one process on the same global batches.
"""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import src  # noqa: F401  first: what it sets only counts before torch is imported

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "strategies.md"
BASE = ("model=transformer_tiny", "data=demo_text")
# Column: what one would type, and the same as tests.strategy_cases takes it; None for what no CPU can run.
COLUMNS: dict[str, tuple[tuple[str, ...], dict[str, Any] | None]] = {
    "fp32, clip norm": (("precision=fp32",), {}),
    "bf16": (("precision=bf16",), {"precision": "bf16-mixed"}),
    "bf16_true": (("precision=bf16_true",), {"precision": "bf16-true"}),
    "fp16": (("precision=fp16",), None),
    "clip value": (("trainer.gradient_clip_algorithm=value",), {"algorithm": "value", "clip": 0.01}),
    "no clipping": (("trainer.gradient_clip_val=null",), {"clip": None}),
    "accumulation": (("accumulation=batches",), {"accumulate": 2}),
    "checkpointing": (("model.checkpointing=selective",), {"checkpointing": "selective"}),
    "compile block": (("model.compile=block",), {"compile": "block"}),
    "compile stack": (("model.compile=stack",), {"compile": "stack"}),
    "resume": (("resume=auto",), {"resume": True, "epochs": 2, "accumulate": 2}),
    "muon": (("optimizer=muon",), {"optimizer": "muon"}),
    "bilstm": (("model=bilstm", "data=demo"), {"model": "bilstm"}),
}
# Largest difference of a weight after three steps of size 0.01, in float32 and where something is computed in bfloat16.
EXACT, ROUNDED = 1e-6, 1e-3


class Cell(NamedTuple):
    """One strategy under one column."""

    strategy: str
    column: str
    refusal: str | None  # the sentence of src.check
    case: dict[str, Any] | None  # None: not run here
    ranks: int

    @property
    def name(self) -> str:
        return f"{self.strategy}-{self.column}".replace(" ", "_").replace(",", "")


def cells() -> Iterator[Cell]:
    """All of them, with the rules asked and nothing run."""
    from src.check.rules import check_rules
    from src.errors import UserError
    from src.launch.compose import CONFIG_FOLDER, count_devices

    files = (file.stem for file in (CONFIG_FOLDER / "strategy").glob("*.yaml"))
    names = sorted(files, key=lambda name: (name != "single", name.startswith("deepspeed"), name))
    # A strategy sets these keys of the trainer and nothing else, so that not every pair has to be composed.
    chosen = {name: composed(*BASE, f"strategy={name}")["trainer"] for name in names}
    chosen = {name: {key: chosen[name][key] for key in ("strategy", "devices", "num_nodes")} for name in names}
    columns = {column: composed(*BASE, *overrides) for column, (overrides, _) in COLUMNS.items()}
    for name in names:
        for column, (_, case) in COLUMNS.items():
            config, refusal = {**columns[column], "trainer": columns[column]["trainer"] | chosen[name]}, None
            try:
                check_rules(config, cuda=True, bf16=True)
            except UserError as error:
                refusal = None if "is not installed" in str(error) else str(error)
            parts, ranks = chosen[name]["strategy"], count_devices(chosen[name]["devices"])
            runs = case is not None and refusal is None and "deepspeed" not in name
            yield Cell(name, column, refusal, {**(case or {}), "strategy": parts} if runs else None, ranks)


def composed(*overrides: str) -> dict[str, Any]:
    """The config of these overrides, a precision that would be chosen by the machine replaced by float32."""
    from hydra import compose, initialize_config_dir

    from src.launch.compose import CONFIG_FOLDER, plain, register_resolvers

    register_resolvers()
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        config = plain(compose("train", overrides=list(overrides)))
    config["trainer"]["precision"] = config["trainer"]["precision"].replace("auto", "32-true")
    return config


def measure(found: list[Cell], folder: Path) -> dict[str, float]:
    """Largest difference from one process of every cell that can run here, by the cell's name."""
    from tests.strategy_cases import furthest, in_one_process, train_on_ranks

    cases = {cell.name: cell.case for cell in found if cell.case is not None}
    trained: dict[str, Any] = {}
    for ranks in sorted({cell.ranks for cell in found if cell.case is not None}):
        mine = {cell.name: cell.case for cell in found if cell.case is not None and cell.ranks == ranks}
        first = train_on_ranks(mine, folder / str(ranks), ranks=ranks, seconds=1800)[0]
        trained |= {name: result["whole"] for name, result in first.items()}
    alone: dict[str, Any] = {}
    differences = {}
    for name, case in cases.items():
        key = json.dumps({key: value for key, value in case.items() if key not in ("strategy", "resume")})
        if key not in alone:
            alone[key] = in_one_process(case)["whole"]
        differences[name] = furthest(trained[name], alone[key])
    return differences


def page(found: list[Cell], differences: dict[str, float]) -> str:
    """The matrix in Markdown."""
    import lightning
    import torch

    strategies = list(dict.fromkeys(cell.strategy for cell in found))
    sentences = list(dict.fromkeys(cell.refusal for cell in found if cell.refusal))
    versions = f"torch {torch.__version__.split('+')[0]}, lightning {lightning.__version__}"
    lines = [
        "# Strategies",
        "",
        "Written by `python -m tests.matrix`: a small transformer (in the last row the BiLSTM) trained by several",
        "processes, 2 unless the head of the column says otherwise, and by one, on the same global batches.",
        f"{versions}, CPU, gloo.",
        "",
        f"- A number is the largest difference of a weight after training. Below {EXACT:.0e} it is rounding of sums in",
        f"  float32, below {ROUNDED:.0e} that of bf16, in which Muon computes too. Where the row says nothing else:",
        "  fp32, clipped by the norm, AdamW, fused. resume: two micro-batches per step, and the second epoch in a new",
        "  trainer, from the checkpoint that the first one left.",
        "- no (n): `python -m src.check` refuses it, with sentence n.",
        "- ?: needs GPUs, and has not been run.",
        "",
        f"| | {' | '.join(strategy_head(name, found) for name in strategies)} |",
        f"|---|{'---|' * len(strategies)}",
    ]
    for column in COLUMNS:
        row = {cell.strategy: cell for cell in found if cell.column == column}
        lines.append(f"| {column} | {' | '.join(word(row[name], differences, sentences) for name in strategies)} |")
    lines += ["", *(f"{number}. {sentence}" for number, sentence in enumerate(sentences, 1)), ""]
    return "\n".join(lines)


def strategy_head(strategy: str, found: list[Cell]) -> str:
    ranks = next(cell.ranks for cell in found if cell.strategy == strategy)
    return f"`{strategy}`" + ("" if ranks == 2 else f" ({ranks})")


def word(cell: Cell, differences: dict[str, float], sentences: list[str]) -> str:
    if cell.refusal is not None:
        return f"no ({sentences.index(cell.refusal) + 1})"
    if cell.case is None:
        return "?"
    difference = differences[cell.name]
    # Muon makes its matrices orthogonal in bfloat16.
    limit = EXACT if cell.case.keys().isdisjoint(("precision", "optimizer")) else ROUNDED
    return ("" if difference <= limit else "**differs** ") + ("0" if difference == 0 else f"{difference:.0e}")


def main() -> None:
    import warnings

    warnings.filterwarnings("ignore")
    found = list(cells())
    with tempfile.TemporaryDirectory() as folder:
        differences = measure(found, Path(folder))
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(found, differences), encoding="utf-8")
    print(PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
