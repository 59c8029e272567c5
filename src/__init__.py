"""One training recipe, from a BiLSTM to a transformer; every door is `python -m src.<name>`."""

import os

# Waiting OpenMP threads sleep instead of spinning: 4 to 9 times faster steps when anything else runs on the
# machine, at most 5 % slower on an idle one. It only counts if it is set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Torch then asks the kernel for 2 MiB pages: the LSTM kernel's workspaces cost 40,000 page faults a step without, a
# quarter of the step's time on two cores.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
