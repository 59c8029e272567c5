"""The planned memory against what a process really takes, in a process of its own."""

import json
import os
import subprocess
import sys

from tests.conftest import ROOT
from tests.peak import SETTINGS

TINY = "model=transformer_tiny data=demo_text data.max_length=256 data.batch_size=8 precision=fp32"
RUNS = {
    "bilstm": "model=bilstm data=demo data.batch_size=32 precision=fp32 model.parallel_directions=false",
    "transformer": f"{TINY} model.checkpointing=none",
    "transformer with checkpointing": f"{TINY} model.checkpointing=blocks",
}


def test_the_plan_is_within_a_tenth_of_the_resident_memory_of_a_training():
    """Lightning's Trainer, AdamW in float32, batches of 32 reviews of 200 words and of 8 blocks of 256 tokens."""
    command = [sys.executable, "-m", "tests.peak", *" / ".join(RUNS.values()).split()]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, **SETTINGS}, timeout=300
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    ratios = {name: run["planned"] / run["measured"] for name, run in zip(RUNS, found, strict=True)}
    assert {name: ratio for name, ratio in ratios.items() if not 0.9 <= ratio <= 1.1} == {}, ratios
