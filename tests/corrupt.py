"""Damaged checkpoints of a real run: `python -m tests.corrupt [flips=1000] [kills=40] [seed=0]`.

Single random bits of the newest checkpoint and of its manifest, every kind of shortened and missing file: each must be
found by what a resumed run reads with, and the one before taken instead. Then runs are killed, the newest checkpoint
damaged after every kill, and resumed; they must end as a run that was left alone.
"""

import contextlib
import io
import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # as in tests/kill.py

import src  # noqa: F401  first: what it sets only counts before torch is imported
from src.errors import UserError
from src.run.checkpoint import load_verified
from src.run.files import read_json
from src.run.manifest import MANIFEST_NAME, STATE_NAME, committed
from src.run.status import FINISHED
from tests.kill import Tally, chains
from tests.legs import Run, new_run
from tests.same_run import unequal


def flip(path: Path, draw: random.Random) -> None:
    """Turn one bit over, whichever."""
    bits = bytearray(path.read_bytes())
    bit = draw.randrange(8 * len(bits))
    bits[bit // 8] ^= 1 << bit % 8
    path.write_bytes(bits)


def cut(path: Path, draw: random.Random) -> None:
    """Keep any number of bytes less than there are. The last one of a manifest ends its line: it may be missing."""
    os.truncate(path, draw.randrange(path.stat().st_size - 1))


def empty(path: Path, draw: random.Random) -> None:
    os.truncate(path, 0)


def remove(path: Path, draw: random.Random) -> None:
    path.unlink()


# To the one file of a state saved by one process; shards are damaged in tests/test_run_sharded.py.
DAMAGE: dict[str, tuple[str, Callable[[Path, random.Random], None], float]] = {
    "a bit of the state": (STATE_NAME, flip, 1.0),  # as often as asked; the others in these proportions
    "a bit of the manifest": (MANIFEST_NAME, flip, 0.2),
    "state cut short": (STATE_NAME, cut, 0.1),
    "manifest cut short": (MANIFEST_NAME, cut, 0.1),
    "state empty": (STATE_NAME, empty, 0.0),
    "manifest empty": (MANIFEST_NAME, empty, 0.0),
    "state missing": (STATE_NAME, remove, 0.0),
    "manifest missing": (MANIFEST_NAME, remove, 0.0),
}


@contextlib.contextmanager
def damaged(path: Path, damage: Callable[[Path, random.Random], None], draw: random.Random) -> Iterator[None]:
    """The file is damaged inside the block; a hard link to it, such as last.ckpt, as well, and stays one."""
    whole, link = path.read_bytes(), path.parents[2] / "link"
    os.link(path, link)
    damage(path, draw)
    try:
        yield
    finally:
        if not path.exists():
            os.link(link, path)
        path.write_bytes(whole)
        link.unlink()


def damage_each(run: Run, *, flips: int, seed: int) -> dict[str, tuple[int, int]]:
    """How often each damage was done, and how often it was found and the previous checkpoint loaded instead."""
    draw, counts = random.Random(seed), {}
    previous, newest = committed(run.folder / "checkpoints")[-2:]
    expected = load_verified(previous.path)
    for name, (file, damage, share) in DAMAGE.items():
        times, found = max(1, round(share * flips)), 0
        for _ in range(times):
            with damaged(newest.path.with_name(file), damage, draw), contextlib.redirect_stderr(io.StringIO()) as said:
                # What Trainer.fit is given to go on from, then what the finished doors read.
                state = load_verified(run.folder / "checkpoints" / "last.ckpt")
                told = f"using the checkpoint of step {previous.step}" in said.getvalue()
                refused = is_refused(newest.path)
            silent = name == "manifest missing"  # then nothing was committed there
            found += refused and (told or silent) and not unequal(state, expected)
        counts[name] = times, found
    assert not unequal(load_verified(run.folder / "checkpoints" / "last.ckpt"), load_verified(newest.path))
    return counts


def is_refused(path: Path) -> bool:
    try:
        load_verified(path)
    except UserError:
        return True
    return False


def damage_newest(draw: random.Random, done: Counter[str]) -> Callable[[Run], None]:
    """`damage(run)`: one of the kinds of damage to the newest checkpoint, if there is another one behind it.

    A run that was killed over its report has nothing to load any more, and would keep the damage.
    """

    def damage(run: Run) -> None:
        manifests = committed(run.folder / "checkpoints")
        if len(manifests) > 1 and (read_json(run.folder / "status.json") or {}).get("state") != FINISHED:
            name = draw.choice(sorted(DAMAGE))
            file, spoil, _ = DAMAGE[name]
            spoil(manifests[-1].path.with_name(file), draw)
            done[name] += 1

    return damage


def main(flips: int = 1000, kills: int = 40, seed: int = 0) -> int:
    """Print what happened; 0 if all damage was found, and no run ended otherwise than the one left alone."""
    missed = 0
    for model in ("bilstm", "lm"):
        tally, done = Tally(), Counter[str]()
        with tempfile.TemporaryDirectory() as folder:
            run = new_run(Path(folder) / "run", model)
            assert run.begin().wait() == 0, run.terminal.read_text()[-3000:]
            print(model)
            for name, (times, found) in damage_each(run, flips=flips, seed=seed).items():
                print(f"  {name:<24}{found:>6} of {times} found, the previous checkpoint taken", flush=True)
                missed += times - found
            if kills:
                (Path(folder) / "chains").mkdir()
                tally = chains(
                    Path(folder) / "chains", model, kills=kills, seed=seed,
                    after=damage_newest(random.Random(seed), done),
                )  # fmt: skip
        print(
            f"  {done.total()} times the newest checkpoint damaged in {tally.kills.total()} kills of {tally.runs} runs:"
        )
        print(f"  {len(tally.problems)} differences from a run left alone")
        print("".join(f"  {what}: {words}\n" for what, words in tally.problems[:20]), end="", flush=True)
        missed += len(tally.problems)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(**{name: int(value) for name, value in (argument.split("=") for argument in sys.argv[1:])}))
