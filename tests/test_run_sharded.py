"""Sharded checkpoints: two ranks write, any number reads, and what is read is what one process would have saved."""

import dataclasses
import hashlib
import json
import os
import pickle
import random
import resource
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor, init_device_mesh

from src.errors import UserError
from src.run.checkpoint import VerifiedCheckpointIO, load_latest, load_verified
from src.run.manifest import find_best, find_last, read_manifest, step_folder
from src.run.sharded import load_sharded, save_sharded
from tests.ranks import on_ranks

NAMES = ["network.embedding", "network.head", "network.scale", "network.norm"]


def whole(step: int, rows: int = 71) -> dict[str, Any]:
    """The state of one process after `step` steps, with Adam's numbered optimizer state: odd sizes, three types."""
    generator = torch.Generator().manual_seed(step)
    shapes: list[tuple[int, ...]] = [(rows, 5), (3, 2, 4), (), (1,)]
    weights = {name: torch.randn(shape, generator=generator) for name, shape in zip(NAMES, shapes, strict=True)}
    weights["network.head"] = weights["network.head"].bfloat16()
    state = {
        number: {"step": torch.tensor(float(step)), "exp_avg": torch.randn(shape, generator=generator)}
        for number, shape in enumerate(shapes)
    }
    groups = [{"lr": 0.1, "betas": (0.9, 0.95), "params": [0, 1]}, {"lr": 0.2, "betas": (0.9, 0.95), "params": [2, 3]}]
    return {
        "global_step": step,
        "epoch": 2,
        "state_dict": {**weights, "network.count": torch.tensor([step, 7])},
        "optimizer_states": [{"state": state, "param_groups": groups}],
        "callbacks": {"sum": torch.tensor(1.5), "names": ["a", None]},
    }


def divided(state: dict[str, Any]) -> dict[str, Any]:
    """The same as the ranks of a sharded strategy hold it: DTensors of rows, and parameter names for numbers."""
    mesh = init_device_mesh("cpu", (distributed.get_world_size(),))

    def part(tensor: torch.Tensor) -> torch.Tensor:
        return distribute_tensor(tensor, mesh, [Shard(0) if tensor.dim() else Replicate()])

    optimizer = state["optimizer_states"][0]
    moments = {
        NAMES[number]: {"step": values["step"].clone(), "exp_avg": part(values["exp_avg"])}
        for number, values in optimizer["state"].items()
    }
    groups = [{**group, "params": [NAMES[n] for n in group["params"]]} for group in optimizer["param_groups"]]
    weights = {name: part(tensor) if name in NAMES else tensor for name, tensor in state["state_dict"].items()}
    return {**state, "state_dict": weights, "optimizer_states": [{"state": moments, "param_groups": groups}]}


def empty(state: Any) -> Any:
    """A state of the same form, with nothing right in it."""
    if isinstance(state, torch.Tensor):
        return torch.zeros_like(state) - 1
    if isinstance(state, dict):
        return {key: empty(value) for key, value in state.items()}
    return [empty(value) for value in state] if isinstance(state, list) else state


def full(state: Any) -> Any:
    if isinstance(state, DTensor):
        return state.full_tensor()
    if isinstance(state, dict):
        return {key: full(value) for key, value in state.items()}
    return [full(value) for value in state] if isinstance(state, list) else state


def same(left: Any, right: Any) -> bool:
    if isinstance(left, torch.Tensor):
        return left.dtype == right.dtype and torch.equal(left, right)
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right


def save(checkpoints: Path, *steps: int, rows: int = 71, **options: Any) -> None:
    """Save each step, as a rank; the best is the first."""
    io = VerifiedCheckpointIO(**options)
    for number, step in enumerate(steps):
        path = step_folder(checkpoints, step) / "state.ckpt"
        scores = {"scores": {"val/loss": float(number)}}
        save_sharded(divided(whole(step, rows)), path, io=io, storage_options=scores)
    io.teardown()


def read(path: Path) -> dict[str, Any]:
    """The state on the ranks that read it, whole."""
    template = empty(divided(whole(0)))
    loaded = load_sharded(path, {key: template[key] for key in ("state_dict", "optimizer_states")})
    assert loaded["state_dict"]["network.embedding"] is template["state_dict"]["network.embedding"], "not in place"
    return full(loaded)


@pytest.fixture(scope="module", autouse=True)
def _no_waiting() -> Iterator[None]:
    """A sync changes nothing that a killed process leaves behind, only what a power cut does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Steps 1 (the best) and 2, saved by two ranks; not to be changed."""
    folder = tmp_path_factory.mktemp("sharded")
    assert on_ranks(2, lambda rank: save(folder / "checkpoints", 1, 2), folder / "ranks") == [None, None]
    return folder / "checkpoints"


@pytest.fixture
def checkpoints(two_ranks: Path, tmp_path: Path) -> Path:
    """A copy to damage, in which names are links as they were."""
    return Path(shutil.copytree(two_ranks, tmp_path / "checkpoints", symlinks=True))


def test_one_process_reads_what_two_ranks_saved_as_if_it_had_saved_it_itself(two_ranks: Path) -> None:
    """Bit for bit, names, numbers and the order of keys included; best.ckpt and last.ckpt too."""
    assert same(load_verified(step_folder(two_ranks, 2) / "state.ckpt"), whole(2))
    assert same(load_verified(two_ranks / "last.ckpt"), whole(2))
    assert same(load_verified(two_ranks / "best.ckpt"), whole(1))
    assert os.readlink(two_ranks / "best.ckpt") == "step-00000001"
    assert os.readlink(two_ranks / "last.ckpt") == "step-00000002"
    best, last = find_best(two_ranks), find_last(two_ranks)
    assert best is not None
    assert last is not None
    assert (best.step, last.step) == (1, 2)


def test_each_rank_writes_its_half_and_the_manifest_hashes_every_file(two_ranks: Path) -> None:
    """No pickle but state.ckpt is there, and that holds no weight."""
    folder = step_folder(two_ranks, 2)
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    shards = ["shards/index.json", "shards/rank-00000.bin", "shards/rank-00001.bin"]
    assert files == ["manifest.json", *shards, "state.ckpt"]
    manifest = read_manifest(folder)
    assert manifest is not None
    for name in shards:
        data = (folder / name).read_bytes()
        assert manifest.files[name] == {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    small, large = sorted(manifest.files[name]["bytes"] for name in shards[1:])
    assert large < 1.5 * small
    rest = torch.load(folder / "state.ckpt", weights_only=True)
    assert set(rest["state_dict"].values()) == {None}
    assert same(rest["callbacks"], whole(2)["callbacks"])


@pytest.mark.parametrize("size", [1, 2, 3])
def test_another_number_of_ranks_reads_it(two_ranks: Path, tmp_path: Path, size: int) -> None:
    """Every tensor in place, and put together again the same as one process holds."""
    expected = divided_names(whole(2))
    for found in on_ranks(size, lambda rank: read(two_ranks / "last.ckpt"), tmp_path / "ranks"):
        assert same(found, expected)


def divided_names(state: dict[str, Any]) -> dict[str, Any]:
    optimizer = state["optimizer_states"][0]
    by_name = {NAMES[number]: values for number, values in optimizer["state"].items()}
    groups = [{**group, "params": [NAMES[n] for n in group["params"]]} for group in optimizer["param_groups"]]
    return {**state, "optimizer_states": [{"state": by_name, "param_groups": groups}]}


def test_two_ranks_read_what_one_process_saved(tmp_path: Path) -> None:
    """So a run that began on one device may go on sharded."""
    VerifiedCheckpointIO().save_checkpoint(whole(3), step_folder(tmp_path, 3) / "state.ckpt")
    for found in on_ranks(2, lambda rank: read(tmp_path / "last.ckpt"), tmp_path / "ranks"):
        assert same(found, divided_names(whole(3)))


def test_weights_alone_are_read_without_the_optimizer(two_ranks: Path, tmp_path: Path) -> None:
    """What an evaluation needs."""

    def work(rank: int) -> Any:
        weights = divided(whole(0))["state_dict"]
        loaded = load_sharded(two_ranks / "best.ckpt", {"state_dict": weights})
        return full(loaded)

    for found in on_ranks(2, work, tmp_path / "ranks"):
        assert "optimizer_states" not in found
        assert same(found["state_dict"], whole(1)["state_dict"])


def test_other_names_or_shapes_are_refused_on_every_rank(two_ranks: Path, tmp_path: Path) -> None:
    """In a sentence that names the tensor, before anything is restored."""

    def work(rank: int) -> list[str]:
        said = []
        for name, tensor in [("network.new", torch.zeros(2)), ("network.norm", torch.zeros(4)), ("network.norm", None)]:
            weights = divided(whole(0))["state_dict"] | {name: tensor}
            weights = {key: value for key, value in weights.items() if value is not None}
            with pytest.raises(UserError) as raised:
                load_sharded(two_ranks / "last.ckpt", {"state_dict": weights})
            said.append(str(raised.value))
        return said

    for said in on_ranks(2, work, tmp_path / "ranks"):
        assert "state_dict/network.new (2,) is missing in" in said[0]
        assert "state_dict/network.norm (4,) has the shape (1,) in" in said[1]
        assert "is no part of this model" in said[2]


def test_every_flipped_bit_in_any_file_is_found_and_the_previous_checkpoint_used(
    checkpoints: Path, capsys: pytest.CaptureFixture
) -> None:
    """50 random bits of all files of the newest together."""
    files = sorted(path for path in step_folder(checkpoints, 2).rglob("*") if path.is_file())
    draw, expected = random.Random(0), whole(1)
    for turn in range(50):
        path = files[turn % len(files)]
        good, bit = path.read_bytes(), draw.randrange(path.stat().st_size * 8)
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bad)
        assert same(load_latest(checkpoints), expected), f"bit {bit} of {path.name}"
        assert "using the checkpoint of step 1" in capsys.readouterr().err
        path.write_bytes(good)
    assert same(load_latest(checkpoints), whole(2))


@pytest.mark.parametrize("name", ["shards/rank-00001.bin", "shards/index.json", "manifest.json", "state.ckpt"])
def test_two_ranks_agree_on_the_previous_one_when_a_file_is_damaged_cut_or_gone(
    checkpoints: Path, tmp_path: Path, name: str
) -> None:
    """Also where only one of them has read the damaged file."""
    path = step_folder(checkpoints, 2) / name
    data = path.read_bytes()
    middle = bytes([data[len(data) // 2] ^ 1])
    for number, bad in enumerate([data[: len(data) // 2] + middle + data[len(data) // 2 + 1 :], data[:-1], None]):
        path.unlink(missing_ok=True)
        if bad is not None:
            path.write_bytes(bad)
        for found in on_ranks(2, lambda rank: read(checkpoints / "last.ckpt"), tmp_path / f"ranks-{number}"):
            assert same(found, divided_names(whole(1)))


class Evil:
    """Runs a command when unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.canary}",)


@pytest.mark.parametrize("name", ["state.ckpt", "shards/index.json", "shards/rank-00000.bin", "shards/.metadata"])
def test_a_pickle_in_the_place_of_any_file_runs_nothing_even_with_a_valid_manifest(
    checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The one who made it could write the hashes as well. torch.distributed.checkpoint itself would run `.metadata`."""
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    folder, canary = step_folder(checkpoints, 2), tmp_path / "canary"
    manifest = read_manifest(folder)
    assert manifest is not None
    with open(folder / name, "wb") as file:
        torch.save(Evil(canary), file) if name == "state.ckpt" else pickle.dump(Evil(canary), file)
    data = (folder / name).read_bytes()
    facts: Any = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    files = manifest.files if name == "state.ckpt" else {**manifest.files, name: facts}
    dataclasses.replace(manifest, files=files, **facts if name == "state.ckpt" else {}).commit()
    try:
        state = load_verified(folder / "state.ckpt")
    except (UserError, RuntimeError):
        assert name != "shards/.metadata"
    else:
        # Numbers can be anything, a file that no one reads as well.
        assert name in ("shards/.metadata", "shards/rank-00000.bin"), state
    assert not canary.exists()


def test_a_file_outside_the_folder_is_refused(checkpoints: Path, tmp_path: Path) -> None:
    """Named by the manifest, or by the index."""
    folder = step_folder(checkpoints, 2)
    (tmp_path / "secret.bin").write_bytes(b"0" * 1000)
    manifest = read_manifest(folder)
    assert manifest is not None
    facts: Any = {"sha256": "", "bytes": 1000}
    for name in ("../../secret.bin", str(tmp_path / "secret.bin"), "shards/../../../secret.bin"):
        dataclasses.replace(manifest, files={**manifest.files, name: facts}).commit()
        assert read_manifest(folder) is None
    index = json.loads((folder / "shards/index.json").read_text())
    next(iter(index["tensors"].values()))["parts"][0]["file"] = "shards/../../../secret.bin"
    text = json.dumps(index).encode()
    (folder / "shards/index.json").write_bytes(text)
    facts = {"sha256": hashlib.sha256(text).hexdigest(), "bytes": len(text)}
    dataclasses.replace(manifest, files={**manifest.files, "shards/index.json": facts}).commit()
    with pytest.raises(UserError, match="no file of this checkpoint"):
        load_verified(folder / "state.ckpt")


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_full_disk_on_one_rank_fails_the_save_on_all_and_keeps_the_old_ones(
    tmp_path: Path, asynchronous: bool
) -> None:
    """And leaves no half of a checkpoint, which would take the room that the next needs."""
    checkpoints = tmp_path / "checkpoints"

    rows = 10_000  # 100,000 bytes for each rank and matrix

    def work(rank: int) -> str:
        save(checkpoints, 1, 2, rows=rows)
        if rank == 1:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
        try:
            save(checkpoints, 3, rows=rows, asynchronous=asynchronous)
        except (OSError, RuntimeError) as error:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            assert not step_folder(checkpoints, 3).exists() or rank == 1
            save(checkpoints, 4, rows=rows)
            return str(error)
        return "saved"

    first, second = on_ranks(2, work, tmp_path / "ranks")
    assert first.startswith("Rank 1: OSError")
    assert "earlier ones are intact" in first
    assert "File too large" in second
    assert sorted(path.name for path in checkpoints.glob("step-*")) == [
        "step-00000001",
        "step-00000002",
        "step-00000004",
    ]
    assert same(load_latest(checkpoints), whole(4, rows))


def test_a_step_saved_again_by_fewer_ranks_leaves_nothing_of_the_first(tmp_path: Path) -> None:
    """Shards of a third rank would be read by nobody and stay for ever."""
    checkpoints = tmp_path / "checkpoints"
    on_ranks(3, lambda rank: save(checkpoints, 1), tmp_path / "three")
    (step_folder(checkpoints, 2) / "shards").mkdir(parents=True)
    (step_folder(checkpoints, 2) / "shards/rank-00005.bin").write_bytes(b"of a killed save")
    on_ranks(2, lambda rank: save(checkpoints, 1, 2), tmp_path / "two")
    for step in (1, 2):
        names = sorted(path.name for path in (step_folder(checkpoints, step) / "shards").iterdir())
        assert names == ["index.json", "rank-00000.bin", "rank-00001.bin"]
    assert same(load_latest(checkpoints), whole(2))


def test_names_work_without_symbolic_links(checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that knows none gets a file with the name of the folder."""
    from src.run.retention import point_names

    def no_links(source: str, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "symlink", no_links)
    point_names(checkpoints)
    assert (checkpoints / "best.ckpt").read_text() == "step-00000001\n"
    assert same(load_verified(checkpoints / "best.ckpt"), whole(1))
