"""Checkpoints that every rank writes a part of, and reads back on any number of ranks: what the strategies call.

step-00001234/state.ckpt        all that is no tensor of the weights or the optimizer, written by rank 0
step-00001234/shards/           rank-00000.bin ..., one per rank, and index.json
step-00001234/manifest.json     last, by rank 0, when every file of every rank is on the disk: the commit
"""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from src.errors import UserError
from src.run.checkpoint import VerifiedCheckpointIO
from src.run.choice import candidates, first_whole, local_path
from src.run.manifest import SHARDS, STATE_NAME, FileFacts, Manifest, read_manifest
from src.run.nested import named, put, split
from src.run.ranks import Ranks, all_ranks
from src.run.reading import OPTIMIZERS, WEIGHTS, read_index, verify_files
from src.run.retention import make_room
from src.run.shard_index import INDEX, Index, Part, index_of, route_of, shard_name
from src.run.shards import fill, plan_writing, read_part
from src.run.state_file import Produce, freeze, plain_data, plain_text, read_state, write_file, write_state


def save_sharded(
    state: dict[str, Any], path: Path, *, io: VerifiedCheckpointIO, storage_options: dict[str, Any] | None = None
) -> None:
    """Save and commit; every rank calls it, with the same `path` (`.../step-00001234/state.ckpt`).

    The tensors of state["state_dict"] and state["optimizer_states"] are sharded: DTensors by their placement, a plain
    tensor that several ranks hold is written by one of them. Optimizer states are those of `get_optimizer_state_dict`,
    with parameter names as keys. The rest is taken from rank 0. storage_options: as of VerifiedCheckpointIO.

    Raises (on every rank) what went wrong on any of them. With io.asynchronous, the tensors are copied to the memory of
    the CPU before it returns, and what goes wrong later is raised by io.check and io.wait.
    """
    facts = io.facts(state, storage_options)
    io.wait()
    ranks, folder = io.ranks(), path.parent
    sharded = {key: state[key] for key in (WEIGHTS, OPTIMIZERS) if key in state}
    rest, tensors = split(sharded)
    ranks.first(lambda: _make_room(folder))
    shard, index = plan_writing(tensors, ranks)
    contents: dict[str, Produce] = {shard_name(ranks.rank): shard}
    if ranks.rank == 0:
        contents |= {INDEX: plain_text(index), STATE_NAME: plain_data({**state, **rest})}
    if io.asynchronous:
        contents = {name: freeze(produce) for name, produce in contents.items()}
    io.run(partial(_write, contents, folder, ranks=ranks, io=io, facts=facts))


def _make_room(folder: Path) -> None:
    make_room(folder)
    (folder / SHARDS).mkdir()


def load_sharded(path: Path, state: dict[str, Any]) -> dict[str, Any]:
    """The state in `path`, with the tensors of `state` filled in place; every rank calls it.

    path: `.../step-00001234/state.ckpt`, `.../best.ckpt` or `.../last.ckpt` (the newest that is not damaged).
    state: {"state_dict": ..., "optimizer_states": [...]} of this number of ranks, or {"state_dict": ...} alone, which
    leaves the optimizer out of what is returned. DTensors get their own part, whatever the number of ranks was that
    saved. A checkpoint of one process is read as well; its numbered optimizer state gets the names that `state` has.

    Raises UserError on every rank: no whole checkpoint, or other names or shapes than those of `state`.
    """
    path = local_path(path)
    with all_ranks() as ranks:
        found = ranks.broadcast(ranks.first(lambda: candidates(path))) or []
        manifest = first_whole(path, found, partial(_verified, ranks=ranks), say=ranks.rank == 0)
        return ranks.together(lambda: _fill(manifest, state))


def _verified(manifest: Manifest, *, ranks: Ranks) -> Manifest:
    """Every rank hashes its share of the files, so that together they read each file once."""
    ranks.together(lambda: verify_files(manifest, sorted(manifest.all_files)[ranks.rank :: ranks.size]))
    return manifest


def _fill(manifest: Manifest, state: dict[str, Any]) -> dict[str, Any]:
    result = read_state(manifest.path, sha256=manifest.sha256)
    wanted = {route: tensor for route, tensor in split(state)[1].items() if route[0] in (WEIGHTS, OPTIMIZERS)}
    if OPTIMIZERS not in state:
        result.pop(OPTIMIZERS, None)
    index, read = _stored(manifest, result, state)
    unknown = [route for route in map(route_of, index.stored) if route[0] in state and route not in wanted]
    if unknown:
        raise UserError(f"{'/'.join(map(str, unknown[0]))} in {manifest.path} is no part of this model or optimizer.")
    fill(wanted, index, read, of=manifest.path)
    for route, tensor in wanted.items():
        put(result, route, tensor)
    return result


def _stored(manifest: Manifest, result: dict[str, Any], like: dict[str, Any]) -> tuple[Index, Callable[[Part], Tensor]]:
    """Where the tensors are: in shards, or in `result` itself, in which the optimizer state then gets its names."""
    if manifest.files:
        return read_index(manifest), partial(read_part, manifest.path.parent)
    if OPTIMIZERS in like:
        result[OPTIMIZERS] = _named(result.get(OPTIMIZERS, []), like[OPTIMIZERS], manifest.path)
    whole = split({key: result[key] for key in like if key in result})[1]
    return index_of(whole), lambda part: whole[route_of(part.file)]


def _named(states: list[Any], like: list[Any], path: Path) -> list[Any]:
    if len(states) != len(like):
        raise UserError(
            f"The checkpoint {path} holds {len(states)} optimizer states, but {len(like)} are to be restored."
        )
    return [named(each, like=other) for each, other in zip(states, like, strict=True)]


def _write(
    contents: dict[str, Produce], folder: Path, *, ranks: Ranks, io: VerifiedCheckpointIO, facts: dict[str, Any]
) -> None:
    """Write the files of this rank and commit those of all; raises on every rank what went wrong on any."""

    def write_own() -> dict[str, FileFacts]:
        write = {STATE_NAME: write_state}
        return {
            name: _facts(*write.get(name, write_file)(produce, folder / name)) for name, produce in contents.items()
        }

    try:
        written = ranks.gather(ranks.together(write_own))
        ranks.first(lambda: _commit({name: each for own in written for name, each in own.items()}, folder, io, facts))
    except Exception:
        if ranks.rank == 0 and read_manifest(folder) is None:
            shutil.rmtree(folder, ignore_errors=True)  # a full disk needs the room
        raise


def _commit(files: dict[str, FileFacts], folder: Path, io: VerifiedCheckpointIO, facts: dict[str, Any]) -> None:
    missing = [name for name in files if not (folder / name).is_file()]
    if missing:
        raise UserError(
            f"{folder} lacks {missing[0]}, which another node wrote. Sharded checkpoints need a file system that all "
            "nodes share; set paths.output_dir to a folder on one."
        )
    state = files.pop(STATE_NAME)
    io.commit(Manifest(path=folder / STATE_NAME, files=files, **state, **facts))


def _facts(sha256: str, size: int) -> FileFacts:
    return {"sha256": sha256, "bytes": size}
