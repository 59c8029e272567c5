"""A language model through the doors: trained, measured, continued as text, and the start of a classifier."""

import json

import pytest
import torch

from src.errors import UserError
from src.launch.preflight import preflight
from src.run.checkpoint import load_verified
from tests.conftest import SHORT_RUN, SMALL_TRANSFORMER, door

CLASSIFIER = ["model=transformer_classifier", "data=demo", *SMALL_TRANSFORMER, *SHORT_RUN, "data.max_length=64"]


@pytest.fixture
def trained(language_model_run):
    return language_model_run


def test_a_run_holds_perplexity_bits_per_byte_and_its_tokenizer(trained):
    result = json.loads((trained / "result.json").read_text())
    for split in ("val", "test"):
        assert 1 < result[f"{split}/ppl"] < 512
        assert 0 < result[f"{split}/bits_per_byte"] < 8
    assert (trained / "tokenizer.json").is_file()
    assert not list(trained.glob("predictions_*"))
    assert "Perplexity" in (trained / "report.html").read_text()


def test_evaluation_repeats_the_figures_of_the_run(trained):
    done = door("evaluate", f"run={trained}", "split=val")
    assert done.returncode == 0, done.stderr
    result = json.loads((trained / "result.json").read_text())
    assert f"{result['val/ppl']:.4f}" in done.stdout


def test_greedy_text_is_the_same_with_every_cache(trained):
    options = ["temperature=0", "max_new_tokens=20", "format=json"]
    texts = [door("generate", f"run={trained}", "prompt=the film", f"cache={cache}", *options).stdout
             for cache in ("none", "contiguous", "paged")]  # fmt: skip
    assert texts[0] == texts[1] == texts[2]
    assert json.loads(texts[0])["tokens"] == 20


def test_a_classifier_starts_from_its_weights_and_reads_with_its_tokenizer(trained, tmp_path):
    folder = tmp_path / "run"
    done = door("train", *CLASSIFIER, f"init_from={trained}", f"paths.output_dir={tmp_path}", f"hydra.run.dir={folder}",
                "trainer.max_steps=1", "optimizer.lr=0")  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    assert "14 weights from" in done.stdout
    assert "new: classifier.weight, classifier.bias" in done.stdout
    before, after = (load_verified(path / "checkpoints" / "last.ckpt")["state_dict"] for path in (trained, folder))
    shared = [name for name in after if name in before]
    assert len(shared) == 14
    best = load_verified(trained / "checkpoints" / "best.ckpt")["state_dict"]
    assert all(torch.equal(best[name], after[name]) for name in shared)
    assert (folder / "tokenizer.json").read_bytes() == (trained / "tokenizer.json").read_bytes()
    answer = door("predict", f"run={folder}", "text=a good film", "format=json")
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)["label"] in ("neg", "pos")


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["model.width=64"], "build the same network with model.width=32"),
        (["data.split=official"], "trained with data.split=holdout, this run has official"),
        (["data.split_seed=1"], "trained with data.split_seed=0"),
    ],
)
def test_a_start_that_cannot_work_is_refused(compose, trained, overrides, sentence):
    with pytest.raises(UserError, match=sentence):
        preflight(compose(*CLASSIFIER, f"init_from={trained}", *overrides), run_dir="<run folder>")


def test_a_start_from_another_network_or_from_nothing_is_refused(compose, trained):
    with pytest.raises(UserError, match=r"another shape of embedding\.weight"):
        preflight(compose("model=bilstm", "data=demo", f"init_from={trained}"), run_dir="<run folder>")
    with pytest.raises(UserError, match="nowhere"):
        preflight(compose(*CLASSIFIER, "init_from=nowhere"), run_dir="<run folder>")


def test_a_language_model_has_no_labels_to_predict(trained):
    done = door("predict", f"run={trained}", "text=a good film")
    assert done.returncode == 2
    assert "language model" in done.stderr
