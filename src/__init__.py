"""One training recipe, from a BiLSTM to a transformer; every door is `python -m src.<name>`."""

import os
import signal
import sys

# Waiting OpenMP threads sleep instead of spinning: 4 to 9 times faster steps when anything else runs on the
# machine, at most 5 % slower on an idle one. It only counts if it is set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Torch then asks the kernel for 2 MiB pages: the LSTM kernel's workspaces cost 40,000 page faults a step without, a
# quarter of the step's time on two cores.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

DOORS = {"src.train", "src.evaluate", "src.predict", "src.generate", "src.export", "src.check", "src.benchmark"}


def _leave(*_: object) -> None:
    os.write(2, b"Stopped by SIGINT.\n")
    os._exit(130)


# Until a door has handlers of its own (src.run.signals.listen) Ctrl-C has nothing to undo; an exception would come in
# the middle of an import or of Hydra, which make another error of it. A shell's `command &` ignores Ctrl-C.
if sys.argv[:1] == ["-m"] and DOORS & set(sys.orig_argv) and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
    signal.signal(signal.SIGINT, _leave)
