"""Every YAML file of every group composes, passes the checks and builds; groups win in the order of train.yaml."""

from importlib.util import find_spec

import pytest
import torch

from src.check import rules_memory
from src.errors import UserError
from src.launch.build import build_callbacks, build_named, build_network, build_task, count_parameters
from src.launch.compose import CONFIG_FOLDER, batches_for_tokens, plain
from src.launch.plan import batch_line
from src.launch.preflight import build_on_meta, preflight

# Groups of other doors: suites of the benchmark, caches of generation.
ELSEWHERE = ("hydra", "suite", "cache")
GROUPS = sorted(path.name for path in CONFIG_FOLDER.iterdir() if path.is_dir() and path.name not in ELSEWHERE)
CHOICES = [(group, file.stem) for group in GROUPS for file in sorted((CONFIG_FOLDER / group).glob("*.yaml"))]
# Choices that this kind of machine has to refuse, and the word that says why.
NEED_A_GPU = {
    ("trainer", "gpu"): "CUDA",
    ("precision", "fp16"): "needs a GPU",
    ("attention", "flash"): "cannot run here",
    ("attention", "flex"): "no gradients",
    **{("strategy", f"deepspeed_{kind}"): "CUDA|package" for kind in ("zero1", "zero2", "zero3", "offload")},
}
# Choices that only some models take.
OF_A_MODEL = {
    ("task", "language_model"): "transformer_tiny",
    ("data", "imdb_text"): "transformer_tiny",
    ("data", "demo_text"): "transformer_tiny",
    ("optimizer", "muon"): "transformer_tiny",
    ("callbacks", "samples"): "transformer_tiny",
    ("strategy", "tensor_parallel"): "transformer_tiny",
    ("task", "bilstm_lm"): "bilstm_lm",
    ("data", "imdb_words"): "bilstm_lm",
}
# A billion weights are more than a test needs to build.
SHORT = ["model.num_layers=1", "model.width=128", "model.feed_forward_width=64", "data.batch_size=1"]


def overrides_for(group, choice):
    """The choice, and the model that goes with it."""
    model = "transformer_tiny" if group == "attention" else OF_A_MODEL.get((group, choice))
    large = choice in ("transformer_1b", "llama_70b")
    job = ["trainer=cpu"] if choice == "sbatch" else []  # a batch job says where it trains
    return [*([f"model={model}"] if model else []), f"{group}={choice}", *(SHORT if large else []), *job]


def prepared(compose, *overrides):
    return preflight(compose(*overrides, "trainer.accelerator=cpu"), run_dir="<run folder>")


@pytest.mark.parametrize(("group", "choice"), CHOICES, ids=lambda value: value)
def test_every_choice_composes_and_builds(compose, group, choice, tmp_path):
    composed = compose(*overrides_for(group, choice))
    lacking = choice.startswith("deepspeed") and find_spec("deepspeed") is None
    if (group, choice) in NEED_A_GPU and (lacking or not torch.cuda.is_available()):
        with pytest.raises(UserError, match=NEED_A_GPU[group, choice]):
            preflight(composed, run_dir=str(tmp_path))
        return
    config = preflight(composed, run_dir=str(tmp_path))
    task = build_task(config, build_network(config))
    optimizer = task.make_optimizer([{"params": list(task.network.parameters())}])
    assert task.make_schedule(optimizer, total_steps=1000)["scheduler"] is not None
    assert len(build_callbacks(config)) >= 1
    offline = {name: entry for name, entry in config["logger"].items() if name == "csv"}
    assert build_named({"logger": offline}, "logger")


def test_every_group_folder_is_in_the_table_of_contents(compose):
    text = (CONFIG_FOLDER / "train.yaml").read_text()
    # Only a model that attends has an attention to choose.
    assert [group for group in GROUPS if f"  - {group}: " not in text] == ["attention"]


def test_a_model_that_does_not_attend_has_no_attention_to_choose(compose):
    with pytest.raises(Exception, match="attention"):
        compose("model=bilstm", "attention=naive")
    config = compose("model=transformer_tiny", "attention=naive")
    assert config.model.attention._target_ == "src.attention.naive.attend"


def test_the_large_transformer_has_its_parameters_and_is_refused_where_it_cannot_fit(compose, monkeypatch):
    overrides = ["model=transformer_1b", "trainer.accelerator=cpu"]
    network = build_on_meta(plain(compose(*overrides)))
    assert count_parameters(network) == 1_100_048_384
    laptop = rules_memory.Device("a laptop", 24 * 2**30, cuda=False)
    monkeypatch.setattr(rules_memory, "device_memory", lambda config: laptop)
    with pytest.raises(UserError, match=r"needs about .* GiB .* a laptop has 24.0"):
        prepared(compose, *overrides)


def test_the_command_line_wins_over_the_experiment(compose):
    assert compose("experiment=bilstm_book").model.pooling == "mean"
    assert compose("experiment=bilstm_book", "model.pooling=max").model.pooling == "max"
    assert compose("experiment=bilstm_book", "optimizer=sgd").optimizer._target_ == "torch.optim.SGD"


def test_debug_wins_over_the_experiment(compose):
    assert compose("experiment=bilstm_book", "debug=profiler").trainer.max_epochs == 1
    assert compose("experiment=bilstm_book", "debug=profiler", "trainer.max_epochs=2").trainer.max_epochs == 2


def test_precision_strategy_and_accumulation_win_over_the_trainer(compose):
    config = compose("trainer=cpu", "precision=bf16_true", "accumulation=batches", "accumulation.batches=3")
    assert config.trainer.precision == "bf16-true"
    assert config.trainer.accumulate_grad_batches == 3
    assert config.trainer.accelerator == "cpu"


def test_seed_zero_is_a_seed(compose):
    assert plain(compose())["seed"] == 0
    assert plain(compose())["data"]["seed"] == 0


def test_tokens_per_step_become_whole_micro_batches():
    assert batches_for_tokens(51_200, 64, 200, 1, 1) == 4
    assert batches_for_tokens(51_200, 64, 200, 2, 1) == 2
    assert batches_for_tokens(1, 64, 200, "auto", 1) == 1


def test_the_batch_line_multiplies_out(compose):
    config = prepared(compose, "data=demo", "accumulation=batches", "data.batch_size=16")
    assert batch_line(config) == "micro 16 x accumulation 4 x data-parallel 1 = 64 examples per optimizer step"


def test_a_device_picked_by_its_number_is_one_device(compose):
    config = prepared(compose, "data=demo", "trainer.devices=[0]", "accumulation=tokens")
    assert batch_line(config) == "micro 64 x accumulation 4 x data-parallel 1 = 256 examples per optimizer step"


def test_the_book_network_has_the_chapters_parameters(compose):
    assert count_parameters(build_on_meta(prepared(compose, "experiment=bilstm_book"))) == 1_431_554


def test_a_value_that_the_constructor_refuses_names_the_section(compose):
    with pytest.raises(UserError, match="dropout"):
        prepared(compose, "model.dropout=1.5")


def test_the_run_folder_is_chosen_by_hydra_alone(compose):
    with pytest.raises(UserError, match=r"paths.run_dir .*hydra.run.dir=DIR"):
        prepared(compose, "paths.run_dir=/somewhere")


def test_a_secret_of_the_environment_is_never_read(compose):
    with pytest.raises(UserError, match="WANDB_API_KEY"):
        prepared(compose, "tags=['${oc.env:WANDB_API_KEY}']")


def test_a_network_to_compile_is_refused_where_no_compiler_is_and_a_batch_job_is_not(compose, monkeypatch):
    monkeypatch.setenv("CXX", "a-compiler-that-is-not-there")
    chosen = ["model=transformer_tiny", "data=demo_text", "model.compile=block", "trainer=cpu"]
    with pytest.raises(UserError, match=r"model\.compile \(block\) needs a C\+\+ compiler"):
        preflight(compose(*chosen), run_dir="<run folder>")
    preflight(compose(*chosen, "launcher=sbatch"), run_dir="<run folder>")
