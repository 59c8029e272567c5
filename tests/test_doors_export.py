"""The door for other programs: safetensors, Hugging Face folders, and checkpoints of one or of several processes."""

import hashlib
import shutil
import subprocess
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from src.errors import UserError
from src.launch.build import build_network
from src.launch.exporting import export, read_options
from src.launch.finished import load_network, open_run
from src.launch.text_models import open_own
from src.run.checkpoint import VerifiedCheckpointIO, load_verified
from src.run.consolidate import new_folder, write_weights
from src.run.manifest import step_folder
from src.run.sharded import save_sharded
from tests.conftest import door


def run_export(**values: object) -> None:
    export(read_options({"run": None, "to": None, "format": "safetensors", **values}))


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    state = load_verified(run / "checkpoints" / "best.ckpt")["state_dict"]
    return {name.removeprefix("network."): tensor for name, tensor in state.items() if name.startswith("network.")}


def equal(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_the_exported_file_is_the_best_checkpoint_bit_for_bit(finished_run, tmp_path):
    """With the config that builds its network, its vocabulary, and hashes that the usual tool checks."""
    folder = tmp_path / "new" / "weights"
    done = door("export", f"run={finished_run}", f"to={folder}")
    assert done.returncode == 0, done.stderr
    weights = load_file(folder / "model.safetensors")
    assert equal(weights, weights_of(finished_run))
    assert f"{sum(tensor.numel() for tensor in weights.values()):,} weights of step" in done.stdout
    names = {path.name for path in folder.iterdir()}
    assert names == {"model.safetensors", "config.yaml", "vocabulary.json", "SHA256SUMS"}
    config = open_run(str(finished_run))[1]
    build_network(config).load_state_dict(weights)
    assert (folder / "config.yaml").read_bytes() == (finished_run / "config.yaml").read_bytes()
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        sha256, name = line.split("  ")
        assert sha256 == hashlib.sha256((folder / name).read_bytes()).hexdigest()
        names -= {name}
    assert names == {"SHA256SUMS"}
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=folder, check=True, capture_output=True)
    assert [path.name for path in folder.parent.iterdir()] == ["weights"]


def test_transformers_loads_the_llama_folder_and_computes_the_same(language_model_run, tmp_path):
    """Tokens too: its tokenizer opens a text with the token that ends one, as ours does."""
    transformers = pytest.importorskip("transformers")
    run_export(run=str(language_model_run), to=str(tmp_path / "llama"), format="llama")
    ours = open_own(str(language_model_run))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "llama", dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "llama")
    ids = tokenizer("This film is", return_tensors="pt").input_ids
    assert ids[0].tolist() == ours.codec.encode("This film is")
    with torch.no_grad():
        torch.testing.assert_close(theirs(ids).logits, ours.network.eval()(ids), atol=1e-5, rtol=1e-5)
    assert "config.json" in (tmp_path / "llama" / "SHA256SUMS").read_text()


def test_a_sharded_checkpoint_is_exported_as_the_same_file(language_model_run, tmp_path):
    """And every door that reads a run reads it."""
    run = Path(shutil.copytree(language_model_run, tmp_path / "run"))
    state = load_verified(run / "checkpoints" / "best.ckpt")
    shutil.rmtree(run / "checkpoints")
    state.pop("optimizer_states")
    path = step_folder(run / "checkpoints", state["global_step"]) / "state.ckpt"
    save_sharded(state, path, io=VerifiedCheckpointIO(), storage_options={"scores": {"val/loss": 1.0}})
    assert (path.parent / "shards").is_dir()
    for source, target in [(language_model_run, tmp_path / "single"), (run, tmp_path / "sharded")]:
        run_export(run=str(source), to=str(target))
    assert (tmp_path / "single/model.safetensors").read_bytes() == (tmp_path / "sharded/model.safetensors").read_bytes()
    folder, config = open_run(str(run))
    assert equal(load_network(folder, config).state_dict(), weights_of(language_model_run))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({}, r"to is missing: name a new folder"),
        ({"to": "x", "format": "gguf"}, r"format \(gguf\)"),
        ({"to": "x"}, r"run is missing"),
        ({"to": "x", "run": "no-such-run"}, r"no-such-run"),
    ],
)
def test_what_cannot_be_exported_is_refused_in_a_sentence(values, sentence, tmp_path, monkeypatch):
    """And nothing is written."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=sentence):
        run_export(**values)
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_is_no_llama_is_refused(finished_run, tmp_path):
    """A BiLSTM has no place in such a folder."""
    with pytest.raises(UserError, match=r"format \(llama\) needs a transformer .* src\.model\.bilstm\.BiLSTM"):
        run_export(run=str(finished_run), to=str(tmp_path / "x"), format="llama")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_not_written_into(finished_run, tmp_path):
    """An empty one is."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("keep")
    with pytest.raises(UserError, match=r"to \(.*mine\) must be new or empty"):
        run_export(run=str(finished_run), to=str(tmp_path / "mine"))
    (tmp_path / "empty").mkdir()
    run_export(run=str(finished_run), to=str(tmp_path / "empty"))
    assert (tmp_path / "empty" / "SHA256SUMS").is_file()
    with pytest.raises(UserError, match=r"cannot be written: Not a directory"):
        run_export(run=str(finished_run), to=str(tmp_path / "mine" / "letter.txt" / "below"))


def test_a_failed_export_leaves_nothing(tmp_path):
    """No half of a folder that looks like a whole one."""

    def fail():
        with new_folder(tmp_path / "x") as folder:
            (folder / "model.safetensors").write_bytes(b"half")
            raise RuntimeError("on the way")

    with pytest.raises(RuntimeError, match="on the way"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_tied_weights_are_written_under_both_names(tmp_path):
    """safetensors itself refuses tensors that share memory."""
    weight = torch.randn(4, 3)
    write_weights({"a": weight, "b": weight, "c": weight[1:], "t": weight.t()}, tmp_path / "x")
    stored = load_file(tmp_path / "x")
    assert equal(stored, {"a": weight, "b": weight, "c": weight[1:], "t": weight.t()})
