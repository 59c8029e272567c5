"""The laws of the house: imports point down, rooms stay small, every room has its test, nothing runs at import."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
# From the top: a room may import its own floor's rooms named here and anything below.
FLOORS = [
    {
        "train",
        "evaluate",
        "predict",
        "generate",
        "export",
        "runs.__main__",
        "check.__main__",
        "report.__main__",
        "benchmark.__main__",
    },
    {"launch"},
    {"benchmark"},
    {"task", "callbacks", "strategy", "logger", "report", "check", "runs"},
    {"generation", "sweep"},
    {"run", "model", "data", "optimizer"},
    {"attention", "cache", "schedule", "evaluation"},
    {"errors", ""},
]
CONFIG_LIBRARIES = {"hydra", "omegaconf"}
# report reads files: a machine without torch can write and read it.
FORBIDDEN = {
    "report": {"torch", "lightning", *CONFIG_LIBRARIES},
    "runs": {"torch", "lightning", *CONFIG_LIBRARIES},
    "sweep": {"torch", "lightning", *CONFIG_LIBRARIES},
    "evaluation": {"torch", "lightning", *CONFIG_LIBRARIES},
    "model": {"lightning", *CONFIG_LIBRARIES},
    "attention": {"lightning", *CONFIG_LIBRARIES},
    "cache": {"lightning", *CONFIG_LIBRARIES},
    "generation": {"lightning", *CONFIG_LIBRARIES},
    "schedule": {"lightning", *CONFIG_LIBRARIES},
    "optimizer": {"lightning", *CONFIG_LIBRARIES},
    "task": CONFIG_LIBRARIES,
    "strategy": CONFIG_LIBRARIES,
    "logger": CONFIG_LIBRARIES,
    "callbacks": CONFIG_LIBRARIES,
    "data": CONFIG_LIBRARIES,
    "run": CONFIG_LIBRARIES,
    "check": CONFIG_LIBRARIES,
    "benchmark": CONFIG_LIBRARIES,
}
LINES, FUNCTION_LINES = 200, 60


def name_of(path):
    return ".".join(path.relative_to(ROOT / "src").with_suffix("").parts).removesuffix("__init__").removesuffix(".")


def room_of(path):
    name = name_of(path)
    return name if name.endswith("__main__") else name.split(".")[0]


def floor_of(room):
    return next(number for number, floor in enumerate(FLOORS) if room in floor)


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_imports_point_down(path):
    here = floor_of(room_of(path))
    for name in imports_of(path):
        if name.startswith("src."):
            there = floor_of(name.split(".")[1])
            assert there >= here, f"{name_of(path)} (floor {here}) imports {name} (floor {there})"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_room_imports_only_the_libraries_it_is_about(path):
    forbidden = FORBIDDEN.get(room_of(path), set())
    found = {name.split(".")[0] for name in imports_of(path)} & forbidden
    assert not found, f"{name_of(path)} imports {found}"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_files_and_functions_stay_small(path):
    text = path.read_text()
    assert len(text.splitlines()) <= LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            length = node.end_lineno - node.lineno + 1
            assert length <= FUNCTION_LINES, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_every_module_opens_with_a_sentence(path):
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_one_asks_hasattr_or_keeps_global_state(path):
    for node in ast.walk(ast.parse(path.read_text())):
        assert not (isinstance(node, ast.Name) and node.id == "hasattr")
        assert not isinstance(node, ast.Global)


@pytest.mark.parametrize(
    "door",
    [
        "src.train",
        "src.evaluate",
        "src.predict",
        "src.generate",
        "src.export",
        "src.runs.__main__",
        "src.check.__main__",
        "src.benchmark.__main__",
    ],
)
def test_a_door_opens_without_torch(door):
    """So a typo is refused in a second, not after the imports."""
    code = f"import sys, {door}; print(sorted({{'torch', 'lightning', 'wandb', 'datasets'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_report_needs_neither_torch_nor_hydra():
    code = "import sys, src.report.run; print(sorted({'torch', 'lightning', 'hydra', 'omegaconf'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_config_groups_and_rooms_share_their_names():
    """A group whose choices are parts of ours has a room of its own name."""
    for group in (
        "model",
        "task",
        "data",
        "attention",
        "cache",
        "schedule",
        "callbacks",
        "optimizer",
        "strategy",
        "logger",
    ):
        assert (ROOT / "conf" / group).is_dir()
        assert (ROOT / "src" / group).is_dir()
