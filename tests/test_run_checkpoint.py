"""Verified checkpoints: commit order, names, pruning, and what loading refuses."""

import dataclasses
import hashlib
import importlib.metadata
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from src.errors import UserError
from src.run.checkpoint import VerifiedCheckpointIO, load_latest, load_verified
from src.run.manifest import find_best, find_last, read_manifest, step_folder
from src.run.retention import replace_by_link
from src.run.state_file import freeze, plain_data, write_state


def state_of(step: int) -> dict[str, Any]:
    """A small state that tells its step in every part."""
    return {
        "global_step": step,
        "epoch": step // 10,
        "state_dict": {"w": torch.full((64,), float(step))},
        "x": [None, True],
    }


def save(checkpoints: Path, step: int, loss: float = 1.0, **options: Any) -> Path:
    path = step_folder(checkpoints, step) / "state.ckpt"
    VerifiedCheckpointIO(**options).save_checkpoint(state_of(step), path, {"scores": {"val/loss": loss}})
    return path


def steps(checkpoints: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("step-")) for path in checkpoints.glob("step-*"))


def test_a_saved_state_is_loaded_equal_and_its_manifest_tells_the_truth(tmp_path: Path) -> None:
    """The hash is compared with hashlib over the file."""
    io = VerifiedCheckpointIO(config_sha256="cd")
    path = step_folder(tmp_path, 1234) / "state.ckpt"
    io.save_checkpoint(state_of(1234), path, {"scores": {"val/loss": 0.5}, "data": {"sha256": "ab"}})
    loaded = io.load_checkpoint(path)
    assert torch.equal(loaded["state_dict"]["w"], state_of(1234)["state_dict"]["w"])
    assert path.parent.name == "step-00001234"
    manifest = json.loads((path.parent / "manifest.json").read_text())
    assert manifest["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert manifest["bytes"] == path.stat().st_size
    assert manifest["versions"]["torch"] == importlib.metadata.version("torch")
    known = {key: manifest[key] for key in ("step", "epoch", "scores", "config_sha256", "data", "path")}
    assert known == {
        "step": 1234, "epoch": 123, "scores": {"val/loss": 0.5}, "config_sha256": "cd", "data": {"sha256": "ab"},
        "path": "state.ckpt",
    }  # fmt: skip
    assert sorted(os.listdir(path.parent)) == ["manifest.json", "state.ckpt"]


def test_names_are_links_to_the_best_and_the_last_and_pruning_keeps_three(tmp_path: Path) -> None:
    """Best is step 20; the newest two are 40 and 50; the names cost no space."""
    for step, loss in [(10, 0.9), (20, 0.1), (30, 0.5), (40, math.nan), (50, 0.1)]:
        save(tmp_path, step, loss)
    assert steps(tmp_path) == [20, 40, 50]
    best, last = find_best(tmp_path), find_last(tmp_path)
    assert best is not None
    assert last is not None
    assert (best.step, last.step) == (20, 50), "of equal scores the earliest is the best"
    assert os.path.samefile(tmp_path / "best.ckpt", best.path)
    assert os.path.samefile(tmp_path / "last.ckpt", last.path)
    assert load_verified(tmp_path / "best.ckpt")["global_step"] == 20
    assert load_verified(tmp_path / "last.ckpt")["global_step"] == 50
    assert sorted(os.listdir(tmp_path)) == ["best.ckpt", "last.ckpt", "step-00000020", "step-00000040", "step-00000050"]


def test_the_best_of_a_score_to_maximise_is_the_highest(tmp_path: Path) -> None:
    """And a checkpoint without any score is never the best."""
    for step, loss in [(1, 0.5), (2, 0.9), (3, 0.7)]:
        save(tmp_path, step, loss, mode="max")
    VerifiedCheckpointIO(mode="max").save_checkpoint(state_of(4), step_folder(tmp_path, 4) / "state.ckpt")
    best = find_best(tmp_path)
    assert best is not None
    assert best.step == 2


def test_without_a_finite_score_there_is_no_best(tmp_path: Path) -> None:
    """A model that diverged is not called the best; last.ckpt still exists."""
    save(tmp_path, 1, math.nan)
    assert find_best(tmp_path) is None
    with pytest.raises(UserError, match="No checkpoint with a score"):
        load_verified(tmp_path / "best.ckpt")
    assert load_verified(tmp_path / "last.ckpt")["global_step"] == 1


def test_stray_names_are_ignored(tmp_path: Path) -> None:
    """Files that only look like checkpoints, and folders without a manifest."""
    save(tmp_path, 7)
    for name in ("last_backup.ckpt", "x.ckpt.tmp", "step-00000009", "hpc_ckpt_2.ckpt.tmp"):
        (tmp_path / name).write_bytes(b"stray")
    for name in ("step-99999999x", "step-9", "step-00000008"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "state.ckpt").write_bytes(b"not committed")
    last = find_last(tmp_path)
    assert last is not None
    assert last.step == 7
    assert load_latest(tmp_path)["global_step"] == 7


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    """The second save of step 5 brings the score, and nothing of the first stays."""
    save(tmp_path, 4, 0.5)
    save(tmp_path, 5, math.nan)
    save(tmp_path, 5, 0.2)
    best = find_best(tmp_path)
    assert best is not None
    assert (best.step, best.score) == (5, 0.2)
    assert steps(tmp_path) == [4, 5]


def test_what_is_not_plain_data_is_refused_before_anything_is_replaced(tmp_path: Path) -> None:
    """NumPy scalars, paths and modules would make a checkpoint that its own run cannot load."""
    save(tmp_path, 1)
    for value, name in [(np.float64(1), "numpy"), (tmp_path, "Path"), (torch.nn.Linear(1, 1), "Linear")]:
        with pytest.raises(TypeError, match=name):
            VerifiedCheckpointIO().save_checkpoint({"x": value}, step_folder(tmp_path, 2) / "state.ckpt")
    assert os.listdir(step_folder(tmp_path, 2)) == []
    assert load_latest(tmp_path)["global_step"] == 1


def test_a_checkpoint_must_lie_in_a_step_folder(tmp_path: Path) -> None:
    """Anywhere else it would share a manifest with its neighbours."""
    with pytest.raises(UserError, match="step-<8 digits>"):
        VerifiedCheckpointIO().save_checkpoint(state_of(1), tmp_path / "epoch=1.ckpt")
    with pytest.raises(TypeError, match="score"):
        VerifiedCheckpointIO().save_checkpoint(state_of(1), step_folder(tmp_path, 1) / "state.ckpt", {"score": 1})


def test_arguments_that_make_no_sense_are_refused() -> None:
    """mode and keep_last name their legal values."""
    with pytest.raises(UserError, match=r"mode \('least'\) must be min or max"):
        VerifiedCheckpointIO(mode="least")
    with pytest.raises(UserError, match=r"keep_last \(1\) must be 2 or more"):
        VerifiedCheckpointIO(keep_last=1)


class Evil:
    """Runs a command when unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.canary}",)


@pytest.mark.parametrize("force", [False, True])
def test_a_pickle_that_runs_code_is_refused_even_with_a_valid_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    """TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD does not change that."""
    if force:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    canary, path = tmp_path / "canary", save(tmp_path / "c", 1)
    manifest = read_manifest(path.parent)
    assert manifest is not None
    torch.save({"x": Evil(canary)}, path)
    facts = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "bytes": path.stat().st_size}
    dataclasses.replace(manifest, **facts).commit()
    for load in (path, tmp_path / "c" / "last.ckpt", tmp_path / "c" / "best.ckpt"):
        with pytest.raises(UserError, match=r"more than plain data|damaged"):
            load_verified(load)
    with pytest.raises(UserError, match="weights_only=True"):
        VerifiedCheckpointIO().load_checkpoint(path, weights_only=False)
    assert not canary.exists()


@pytest.mark.parametrize("path", ["http://127.0.0.1:9/x.ckpt", "https://h/last.ckpt", "s3://b/state.ckpt"])
def test_addresses_are_refused(path: str) -> None:
    """For loading and for saving."""
    with pytest.raises(UserError, match="local file"):
        VerifiedCheckpointIO().load_checkpoint(path)
    with pytest.raises(UserError, match="local file"):
        VerifiedCheckpointIO().save_checkpoint({}, path)


def test_a_file_without_a_manifest_is_not_loaded(tmp_path: Path) -> None:
    """A missing file, a foreign one, one beside another's manifest."""
    save(tmp_path, 1)
    torch.save({}, tmp_path / "foreign.ckpt")
    torch.save({}, step_folder(tmp_path, 1) / "other.ckpt")
    for path in (
        tmp_path / "foreign.ckpt",
        step_folder(tmp_path, 1) / "other.ckpt",
        step_folder(tmp_path, 2) / "state.ckpt",
    ):
        with pytest.raises(UserError, match=path.name):
            load_verified(path)
    with pytest.raises(UserError, match="Train first"):
        load_latest(tmp_path / "nowhere")
    assert find_last(tmp_path / "nowhere") is None


def test_a_name_is_replaced_without_links_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that knows no hard links gets a copy."""

    def no_links(source: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    save(tmp_path, 1, 0.5)
    save(tmp_path, 2, 0.6)
    assert not os.path.samefile(tmp_path / "last.ckpt", step_folder(tmp_path, 2) / "state.ckpt")
    assert (tmp_path / "last.ckpt").read_bytes() == (step_folder(tmp_path, 2) / "state.ckpt").read_bytes()
    assert (tmp_path / "best.ckpt").read_bytes() == (step_folder(tmp_path, 1) / "state.ckpt").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["best.ckpt", "last.ckpt", "step-00000001", "step-00000002"]


def test_relinking_the_same_file_leaves_no_temporary_name(tmp_path: Path) -> None:
    """rename() of two links to one file does nothing, so the temporary link must be removed by hand."""
    (tmp_path / "a").write_bytes(b"x")
    for _ in range(2):
        replace_by_link(tmp_path / "a", tmp_path / "b")
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_the_hash_of_the_writes_is_the_hash_of_the_file(tmp_path: Path) -> None:
    """Many tensors of odd sizes: torch must never write backwards."""
    state = {f"w{size}": torch.randn(size) for size in (0, 1, 3, 1000, 65537, 300_001)}
    for produce in (plain_data(state), freeze(plain_data(state))):
        sha256, size = write_state(produce, tmp_path / "x")
        data = (tmp_path / "x").read_bytes()
        assert (sha256, size) == (hashlib.sha256(data).hexdigest(), len(data))


@pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers")
def test_lightning_saves_and_resumes_through_the_plugin(tmp_path: Path) -> None:
    """A real Trainer, one step of a one-weight model; the second fit continues at step 1."""
    import lightning
    from lightning.pytorch.demos.boring_classes import BoringModel
    from torch.utils.data import DataLoader

    class Model(BoringModel):
        def train_dataloader(self) -> DataLoader:
            return DataLoader(torch.ones(4, 32), batch_size=4)  # one step per epoch

    def trainer(max_steps: int) -> lightning.Trainer:
        off = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "limit_val_batches": 0}
        return lightning.Trainer(
            max_steps=max_steps,
            accelerator="cpu",
            devices=1,
            plugins=[VerifiedCheckpointIO()],
            enable_checkpointing=False,
            default_root_dir=tmp_path,
            **off,  # type: ignore[arg-type]
        )

    model, first = Model(), trainer(1)
    first.fit(model)
    first.save_checkpoint(step_folder(tmp_path, 1) / "state.ckpt", storage_options={"scores": {"val/loss": 0.5}})
    saved = model.layer.weight.detach().clone()
    other, second = Model(), trainer(2)
    starts = []
    other.on_train_start = lambda: starts.append((second.global_step, torch.equal(other.layer.weight, saved)))
    second.fit(other, ckpt_path=tmp_path / "last.ckpt")
    assert starts == [(1, True)]
    assert second.global_step == 2
