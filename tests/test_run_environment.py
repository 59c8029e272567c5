"""env.json tells the code, the versions and the machine, and never fails where git does."""

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from src.run.environment import describe_environment, versions
from src.run.git import MOST_LETTERS, describe_checkout

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit of one file."""
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "t")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "t@example.org")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    git(tmp_path, "init", "-q")
    assert describe_checkout(tmp_path)["commit"] is None, "before the first commit"
    (tmp_path / "a.py").write_text("x = 1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "--no-verify", "-m", "first")
    return tmp_path


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", folder, *arguments], check=True, capture_output=True, text=True).stdout


def test_a_clean_checkout_is_its_commit(checkout: Path) -> None:
    """Nothing changed, nothing untracked."""
    found = describe_checkout(checkout)
    assert found["commit"] == git(checkout, "rev-parse", "HEAD").strip()
    assert (found["clean"], found["diff"], found["untracked"], found["note"]) == (True, "", [], None)


def test_the_diff_gives_the_changed_code_back_without_its_secrets(checkout: Path) -> None:
    """Applied to the commit, the stored diff makes the file that ran."""
    (checkout / "a.py").write_text("x = 2\n")
    (checkout / "new.py").write_text("")
    found = describe_checkout(checkout)
    assert (found["clean"], found["untracked"]) == (False, ["new.py"])
    git(checkout, "checkout", "-q", "a.py")
    subprocess.run(["git", "-C", checkout, "apply"], input=found["diff"], text=True, check=True)
    assert (checkout / "a.py").read_text() == "x = 2\n"
    (checkout / "a.py").write_text("api_key = 'sk-canary'\n")
    assert "canary" not in describe_checkout(checkout)["diff"]


def test_a_huge_diff_is_cut_and_says_so(checkout: Path) -> None:
    """A data file changed by accident must not make env.json huge."""
    (checkout / "a.py").write_text("x\n" * MOST_LETTERS)
    found = describe_checkout(checkout)
    assert len(found["diff"]) == MOST_LETTERS
    assert "cut at" in found["note"]


def test_without_git_there_is_a_note_and_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No repository; then no git program at all."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert "not a git repository" in describe_checkout(tmp_path)["note"]
    monkeypatch.setenv("PATH", "")
    assert describe_checkout(tmp_path)["note"] == "git is not installed"


def test_versions_are_those_of_the_packages_and_import_none_of_them() -> None:
    """A fresh process knows torch's version without torch in it."""
    code = (
        "import sys; from src.run.environment import versions; version = versions()['torch']; "
        "assert 'torch' not in sys.modules; print(version)"
    )
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert shown.strip() == importlib.metadata.version("torch")
    assert versions()["flash-attn"] is None or importlib.metadata.version("flash-attn")


def test_the_environment_is_plain_json_and_holds_seed_data_and_machine() -> None:
    """What a reader needs to run it again."""
    described = describe_environment(seed=0, data={"sha256": "ab", "rows": [1, 2]}, torch=torch)
    assert json.loads(json.dumps(described, allow_nan=False)) == described
    assert described["seed"] == 0
    assert described["data"] == {"sha256": "ab", "rows": [1, 2]}
    assert described["hardware"]["cpu"]
    assert described["hardware"]["memory_bytes"] > 1 << 28
    assert len(described["hardware"]["gpus"]) == (torch.cuda.device_count() if torch.cuda.is_available() else 0)
