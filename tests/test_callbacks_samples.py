"""Text at each validation: into the run folder, in one line on the terminal, and without a trace in the training."""

from functools import partial
from types import SimpleNamespace

import lightning
import pytest
import torch
from torch import nn

from src.callbacks.samples import SHOWN, Samples
from src.data.demo import read_demo
from src.data.texts import Texts
from src.errors import UserError
from src.model.transformer import Transformer


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    module = Texts(
        path=None,
        reader=partial(read_demo, num_reviews=200, seed=0),
        label_names=["neg", "pos"],
        vocab_size=300,
        max_length=16,
        cache_dir=str(tmp_path_factory.mktemp("cache")),
    )
    module.prepare_data()
    module.setup()
    return module


class Task(lightning.LightningModule):
    """As much of a language model's task as the trainer needs for two steps."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        sizes = {"vocab_size": 300, "width": 16, "num_layers": 1, "num_heads": 2, "feed_forward_width": 24}
        self.network = Transformer(**sizes, max_length=32, dropout=0.1)
        self.modes, self.draws = [], []

    def training_step(self, batch, index):
        self.modes.append(self.network.training)
        self.draws.append(float(torch.rand(())))
        return self.network(batch.ids).float().logsumexp(-1).mean()

    def validation_step(self, batch, index):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(data, callbacks, *, task=None, **settings):
    lightning.seed_everything(1, verbose=False)
    task = task or Task()
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu", "logger": False}
    limits = {"max_steps": 4, "val_check_interval": 2, "limit_val_batches": 1, "num_sanity_val_steps": 1}
    trainer = lightning.Trainer(callbacks=callbacks, enable_checkpointing=False, **quiet, **limits, **settings)
    trainer.fit(task, datamodule=data)
    return task


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true"])
def test_every_validation_leaves_a_text_per_prompt_and_one_line(data, tmp_path, capsys, precision):
    fit(data, [Samples(folder=str(tmp_path), prompts=["the film", "a plot"], max_new_tokens=9)], precision=precision)
    text = (tmp_path / "samples.txt").read_text()
    assert [line for line in text.splitlines() if line.startswith("==")] == ["== step 2"] * 2 + ["== step 4"] * 2
    assert text.count("the film") >= 2
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("sample")]
    assert len(lines) == 2
    assert all(line.startswith("sample  the film") and len(line) <= SHOWN + 8 for line in lines)


def test_training_goes_on_as_if_nothing_had_been_written(data, tmp_path):
    """Weights, random numbers and dropout mode are those of a run without the callback."""
    plain, sampled = fit(data, []), fit(data, [Samples(folder=str(tmp_path), prompts=["a"], max_new_tokens=5)])
    assert sampled.modes == plain.modes == [True] * 4
    assert sampled.draws == plain.draws
    for name, weight in plain.state_dict().items():
        assert torch.equal(weight, sampled.state_dict()[name])


def test_a_network_that_writes_no_text_is_refused_before_training(data, tmp_path):
    task = Task()
    task.network = nn.Linear(1, 1)
    with pytest.raises(UserError, match="not a Linear on Texts"):
        fit(data, [Samples(folder=str(tmp_path), prompts=["a"])], task=task)


def test_a_prompt_that_fills_the_context_is_refused_before_training(data, tmp_path):
    callback = Samples(folder=str(tmp_path), prompts=["short", "\u6f22" * 30])
    with pytest.raises(UserError, match="prompt 2"):
        callback.on_fit_start(SimpleNamespace(datamodule=data), Task())


def test_no_prompt_is_refused(tmp_path):
    with pytest.raises(UserError, match="prompts"):
        Samples(folder=str(tmp_path), prompts=[])


def test_a_resumed_run_forgets_what_was_written_behind_its_checkpoint(tmp_path):
    written = Samples(folder=str(tmp_path), prompts=["the"])
    written.path.write_text("== step 1\n")
    state = written.state_dict()
    written.path.write_text("== step 1\n== step 2\n")
    resumed = Samples(folder=str(tmp_path), prompts=["the"])
    resumed.load_state_dict(state)
    resumed.on_train_start(SimpleNamespace(is_global_zero=True), None)
    assert resumed.path.read_text() == "== step 1\n"
