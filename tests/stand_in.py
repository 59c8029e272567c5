"""A rank that does what its run folder's `script.json` says instead of training, through the real worker's main.

Without torch it starts in a fifth of a second: `python -m tests.stand_in <run folder>`.
"""

import json
import os
import signal
import sys
import time

from src.errors import UserError
from src.launch import worker
from src.launch.rank import Rank
from src.run.folder import RunFolder
from src.run.heartbeat import Heartbeat
from src.run.signals import Signals


def act(run: RunFolder, rank: Rank, signals: Signals, heart: Heartbeat, *, launched: bool) -> None:
    """`script.json` maps ranks to words below; a rank that is not named trains until it is asked to end."""
    word = json.loads((run.path / "script.json").read_text()).get(str(rank.rank), "train")
    print(f"rank {rank.rank} of {rank.world_size}: {word}, {os.environ['OMP_NUM_THREADS']} threads", flush=True)
    os.system("echo from a child process")
    heart.mark("the start")
    if word == "done":
        return
    if word == "bug":
        raise ValueError("an unforeseen value")
    if word == "mistake":
        raise UserError("data.path (nowhere) does not exist; name a folder.")
    if word in ("leave", "go"):
        os._exit(7 if word == "leave" else 128 + signal.SIGTERM)
    if word in ("SIGKILL", "SIGSTOP"):
        os.kill(os.getpid(), signal.Signals[word])
    with signals.held():
        for step in range(6000):
            time.sleep(0.01)
            if word == "stubborn":
                continue
            if word != "sleep":
                heart.mark(f"step {step}")
                signals.look()
            if word == "lost" and step == 60:
                raise RuntimeError("[gloo/transport/tcp/unbound_buffer.cc:78] Timed out waiting for recv operation")
    raise AssertionError("nobody ended this rank")


if __name__ == "__main__":
    worker.work = act
    sys.exit(worker.main(sys.argv[1:]))
