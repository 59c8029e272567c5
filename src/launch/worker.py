"""One rank of a run: `python -m src.launch.worker <run folder>` reads that folder's config.yaml and nothing else.

The elastic launcher of src/launch/processes.py starts it, srun, or torchrun on each of several machines:
`torchrun --nnodes=2 --nproc-per-node=8 --rdzv-backend=c10d --rdzv-endpoint=<first host>:29500 -m src.launch.worker <run
folder>`. What they need is a run folder with a config.yaml on a file system that all machines share, as launcher=sbatch
dry_run=true writes it. torchrun kills ranks 30 s after a signal to itself; TORCH_ELASTIC_SHUTDOWN_TIMEOUT=600 in its
environment leaves them time to save.
"""

import hashlib
import os
import sys
import time
import traceback
from contextlib import ExitStack
from typing import Any

from src.check.global_batch import count_devices
from src.errors import UserError
from src.launch.environment import die_with, prepare
from src.launch.outputs import logged
from src.launch.rank import Process, Rank, current_rank, launcher_pid, started_by_srun
from src.launch.slurm.allocation import check_allocation
from src.launch.terminal import outlive_readers
from src.launch.verdict import first_word, hangs, said
from src.launch.watch import timeout_of
from src.run.folder import RunFolder
from src.run.heartbeat import Heartbeat, Outcome, find_hung, read_beats
from src.run.index import read_config
from src.run.signals import Signals, listen
from src.run.status import exit_code, killed_by, recording

# What a collective says whose other side is gone, where it raises a plain RuntimeError and not torch's DistError.
LOST = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer", "Broken pipe", "ProcessGroup")
# Seconds between beats where the files lie on a disk that many machines share.
SHARED_INTERVAL = 10.0
# Seconds in which another rank's last words reach that disk.
PATIENCE = 2.0


def main(arguments: list[str]) -> int:
    """Train as one rank; returns the exit code."""
    outlive_readers(ends=False)
    with listen(insist=False) as signals:
        if len(arguments) != 1:
            print("Give one run folder: python -m src.launch.worker <run folder>.", file=sys.stderr)
            return UserError.exit_code
        run, rank = RunFolder(arguments[0]), current_rank()
        launched = launcher_pid() is not None
        if "TORCHELASTIC_RUN_ID" in os.environ:
            die_with(launcher_pid() or os.getppid())
        prepare(os.environ)
        beats = run.logs / f"rank-{rank.rank}.json"
        interval = 1.0 if launched else SHARED_INTERVAL
        run.logs.mkdir(parents=True, exist_ok=True)
        with logged(run.logs, rank) as (log, terminal), Heartbeat(beats, rank=rank.rank, interval=interval) as heart:
            try:
                work(run, rank, signals, heart, launched=launched)
            except BaseException as error:
                outcome = describe(error)
                heart.end(outcome)
                words = outcome.traceback or outcome.sentence
                print(words, file=log)
                if not launched:
                    # Nobody else would say it; what only follows from another rank's end needs no traceback.
                    print(f"rank {rank.rank}: {outcome.sentence if outcome.lost else words}", file=terminal)
                return outcome.exit_code
            heart.end(Outcome(at=heart.moved, exit_code=0))
    return 0


def work(run: RunFolder, rank: Rank, signals: Signals, heart: Heartbeat, *, launched: bool) -> None:
    """Read the config, see that it fits the ranks, train. Without a launcher rank 0 keeps the folder and its status."""
    config, sha256 = read(run)
    if started_by_srun():
        check_allocation(config, os.environ)
    check_size(config, rank)
    from src.callbacks.pulse import Pulse
    from src.callbacks.same_config import SameConfig
    from src.launch.training import conclude, train
    from src.report.run import reported_if_failed

    process = Process(rank=rank, signals=signals, worker=True, callbacks=(SameConfig(sha256), Pulse(heart)))
    keeps = rank.first and not launched
    with ExitStack() as keeping:
        if keeps:
            run = RunFolder.claim(run.path, resume=True)
            keeping.enter_context(reported_if_failed(run.path))
            keeping.enter_context(recording(run))
        try:
            train(config, run, process)
        except Exception as error:
            if keeps and describe(error).lost:
                blame(run, ranks=rank.world_size, timeout=timeout_of(config))
            raise
    if keeps:
        conclude(run)


def check_size(config: dict[str, Any], rank: Rank) -> None:
    """Refuse a number of ranks that is not the config's: too few would make Lightning start the rest by itself.

    Raises:
        UserError: naming both numbers.
    """
    devices, nodes = config["trainer"]["devices"], config["trainer"]["num_nodes"]
    if rank.world_size != count_devices(devices) * nodes:
        raise UserError(
            f"trainer.devices ({devices}) x trainer.num_nodes ({nodes}) must be the number of processes that were "
            f"started, {rank.world_size}; start as many as that, one per device."
        )


def blame(run: RunFolder, *, ranks: int, timeout: float) -> None:
    """Raise as rank 0's own end what another rank says of its, or that it hangs: nobody else writes it down."""
    time.sleep(PATIENCE)
    beats = {rank: beat for rank, beat in read_beats(run.logs).items() if rank < ranks}
    spoken = first_word({rank: beat.outcome for rank, beat in beats.items()})
    if spoken is not None and not spoken[1].lost:
        raise said(*spoken) from None
    hung = find_hung(beats, now=time.time(), timeout=max(0.8 * timeout, 2 * SHARED_INTERVAL))
    if hung is not None and hung.rank > 0:
        raise hangs(hung, seen=time.time()) from None


def read(run: RunFolder) -> tuple[dict[str, Any], str]:
    """The run's config and the hash of the bytes it was read from.

    Raises:
        UserError: there is none.
    """
    from src.check.targets import check_targets

    config = read_config(run.path)
    if not config:
        raise UserError(f"The run folder ({run.path}) has no config.yaml; python -m src.train writes it.")
    check_targets(config)
    return config, hashlib.sha256(run.config.read_bytes()).hexdigest()


def describe(error: BaseException) -> Outcome:
    """The end of this rank as its launcher and its log tell it."""
    from src.launch.door import say

    number = killed_by(error)
    sentence = say(error, config_name="train") if isinstance(error, Exception) else None
    trace = "" if sentence or number else "".join(traceback.format_exception(error))
    lost = any(kind.__name__ == "DistError" for kind in type(error).__mro__)
    lost |= isinstance(error, RuntimeError) and any(word in str(error) for word in LOST)
    return Outcome(
        at=time.time(),
        exit_code=exit_code(error),
        sentence=sentence or f"{type(error).__name__}: {error}",
        traceback=trace,
        signal=None if number is None else number.name,
        lost=lost and not sentence,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
