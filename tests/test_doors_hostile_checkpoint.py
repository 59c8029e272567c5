"""A checkpoint that would run code is refused at every door, its manifest and hashes being right."""

import dataclasses
import hashlib
import os

import pytest
import torch

from src.run.files import read_json, write_json
from src.run.manifest import committed
from tests.forked_door import ask
from tests.legs import new_run, typed


class Evil:
    """Runs a command when unpickled."""

    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return os.system, (f"touch {self.canary}",)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A classifier's and a language model's run of one epoch whose checkpoints were all replaced; and the canary."""
    folder = tmp_path_factory.mktemp("hostile")
    runs = {}
    for model in ("bilstm", "lm"):
        run = new_run(folder / model, model, "trainer.max_epochs=1")
        assert run.begin().wait() == 0, run.terminal.read_text()
        for manifest in committed(run.folder / "checkpoints"):
            state = torch.load(manifest.path, weights_only=True)
            torch.save({**state, "evil": Evil(folder / "canary")}, manifest.path)
            facts = {"sha256": hashlib.sha256(manifest.path.read_bytes()).hexdigest()}
            dataclasses.replace(manifest, bytes=manifest.path.stat().st_size, **facts).commit()
        runs[model] = run.folder
    return runs, folder / "canary"


# Door, its arguments, and what it works on; {new} does not exist yet.
DOORS = [
    ("train", ["resume=auto", "hydra.run.dir={run}", "trainer.max_epochs=1"], "bilstm"),
    ("train", ["resume=must", "hydra.run.dir={run}", "trainer.max_epochs=1"], "lm"),
    ("train", ["resume={run}"], "bilstm"),
    ("train", ["init_from={run}", "hydra.run.dir={new}"], "bilstm"),
    ("evaluate", ["run={run}"], "bilstm"),
    ("evaluate", ["run={run}", "split=test", "again=true"], "lm"),
    ("predict", ["run={run}", "text=fine"], "bilstm"),
    ("generate", ["run={run}", "prompt=This"], "lm"),
    ("export", ["run={run}", "to={new}"], "bilstm"),
    ("export", ["run={run}", "to={new}", "format=llama"], "lm"),
]


@pytest.mark.parametrize(("door", "arguments", "model"), DOORS, ids=str)
def test_a_checkpoint_that_runs_code_is_refused(hostile, tmp_path, door, arguments, model):
    """Exit code 2 and a sentence, although torch is told to trust any file. Without that, tests/test_run_checkpoint.py
    says so of the function that all doors load with."""
    runs, canary = hostile
    status = runs[model] / "status.json"
    write_json(status, {**read_json(status), "state": "killed"})  # something is left to be done
    arguments = [argument.format(run=runs[model], new=tmp_path / "new") for argument in arguments]
    if door == "train" and not arguments[0].startswith("resume=/"):
        arguments = [*typed(model, outputs=runs[model].parent), *arguments]
    answer = ask(door, *arguments, TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD="1")
    assert (answer.code, canary.exists()) == (2, False), answer.said
    assert "more than plain data" in answer.said
    assert "Traceback" not in answer.said
    assert not (tmp_path / "new" / "result.json").exists()


def test_the_hostile_file_would_run_code_if_it_were_trusted(hostile):
    """What the others refuse is no straw man."""
    runs, canary = hostile
    torch.load(runs["bilstm"] / "checkpoints" / "last.ckpt", weights_only=False)
    assert canary.exists()
    canary.unlink()
