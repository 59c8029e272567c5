"""The best config of a sweep as an experiment: it composes to what the best job was trained with."""

import json
from pathlib import Path

import pytest
import yaml

from src.errors import UserError
from src.launch.explain import explain
from src.launch.neighbours import added_folder, composed_without
from src.run.yaml_scan import walk
from src.sweep.best import CONFIG_FOLDER, write_best
from tests.conftest import door
from tests.many_runs import GRID, make_sweep

# fixed overrides, and the axes of the best job
CASES = {
    "values": (["data=demo", "tags=[a,b]", "callbacks.early_stopping=null"], {"optimizer.lr": "1e-3", "seed": "4"}),
    "choices": (["experiment=bilstm_imdb", "data=demo", "seed=7"], {"optimizer": "adamw", "schedule": "wsd"}),
    "an experiment as an axis": (["data=demo", "test=false"], {"experiment": "demo", "model.dropout": "0.25"}),
    "a search": (
        ["hparams_search=bilstm_halving", "experiment=demo", "schedule=constant"],
        {"optimizer.lr": "0.00123", "model.hidden": "128", "model.dropout": "0.3", "model.embedding_dropout": "0.1"},
    ),
    "debug": (["debug=overfit", "data=demo", "trainer.max_epochs=3"], {"model.dropout": "0.1"}),
    "a group of some models": (
        ["model=transformer_tiny", "attention=naive", "data=demo_text", "'optimizer.betas=[0.9, 0.95]'"],
        {"model.num_layers": "2", "model.rotary_scaling": "null"},
    ),
    "several choices of a group": (["data=demo", "callbacks=[default,ema]"], {"logger": "[csv,tensorboard]"}),
    "several experiments": (["experiment=[demo,bilstm_imdb]", "data=demo"], {"model.width": "16"}),
    "an added key": (["data=demo", "+trainer.barebones=false", "callbacks=none"], {"model.width": "16"}),
}


def compared(composed):
    """What must be the same: all but the seed, the test split, and where the run is."""
    from src.launch.compose import plain

    config = dict(walk(plain(composed)))
    seeds = {"seed", "data.seed", "test", "paths.run_dir", "logger.wandb.id"}
    return {key: value for key, value in config.items() if not isinstance(value, dict) and key not in seeds}


@pytest.mark.parametrize("case", CASES)
def test_it_composes_to_the_config_of_the_best_job(tmp_path, compose, case):
    """Whatever the words were; the job's config is written as training writes it, resolved."""
    from src.launch.compose import plain
    from src.run.yaml_text import to_yaml

    fixed, best = CASES[case]
    fixed = [word.strip("'") for word in fixed]
    other = {key: f"{value}0" for key, value in best.items()}
    sweep = make_sweep(
        tmp_path / "sweep", {key: [] for key in best}, jobs=[other, best], results=[[0.5], [0.4]], overrides=fixed
    )
    trained = compose(*fixed, *(f"{key}={value}" for key, value in best.items()))
    (sweep / "1" / "config.yaml").write_text(to_yaml(plain(trained)))
    path = write_best(sweep)
    again = compose(f"hydra.searchpath=['file://{sweep}']", "experiment=best")
    assert compared(again) == compared(trained), path.read_text()
    assert again.test is True
    assert again.seed == 0


@pytest.mark.parametrize(
    "typed", [["optimizer=muon", "hparams_search=outer"], ["hparams_search=outer", "optimizer=muon"]]
)
def test_typed_choices_win_over_those_of_a_search_and_its_own_over_inherited_ones(tmp_path, typed):
    """As in Hydra, wherever they were typed; what concerns Hydra itself is no part of the config."""
    files = {
        "hparams_search/inner": "defaults: [{override /schedule: wsd}, {override /data: demo}]\na: {b: 1}\nhydra: {}",
        "hparams_search/outer": "defaults: [inner, {override /schedule: constant}, {override /hydra/sweeper: optuna}]",
        "optimizer/muon": "", "schedule/wsd": "", "data/demo": "",
    }  # fmt: skip
    for name, text in files.items():
        (tmp_path / "conf" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "conf" / f"{name}.yaml").write_text(text)
    axes = {"optimizer.lr": ["0.1", "1"]}
    sweep = make_sweep(tmp_path / "sweep", axes, overrides=[*typed, "a.b=1"], results=[[0.1], [0.2]])
    content = yaml.safe_load(write_best(sweep, config_folder=tmp_path / "conf").read_text())
    chosen = {key: value for entry in content["defaults"][1:] for key, value in entry.items()}
    assert chosen == {"override /optimizer": "muon", "override /schedule": "constant", "override /data": "demo"}
    assert (content["a"], content["optimizer"]) == ({"b": 1}, {"lr": 0.1})
    assert "hydra" not in content


def test_the_command_in_it_runs_through_the_door(tmp_path):
    """A grid over seeds from --config-dir: all jobs pass the checks that come before a training."""
    fixed = ["experiment=demo", "model.hidden=8"]
    sweep = make_sweep(tmp_path / "sweep", {"optimizer": ["adam", "sgd"]}, overrides=fixed, results=[[0.5], [0.4]])
    path = write_best(sweep)
    command = next(line for line in path.read_text().splitlines() if "python -m src.train" in line)
    words = command.split("src.train ")[1].split()
    assert words == ["-m", "--config-dir", str(sweep), "experiment=best", "seed=1,2,3"]
    done = door("train", *words, "dry_run=true", f"paths.output_dir={tmp_path / 'outputs'}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "3 of 3 jobs would be started; nothing was written."


def test_an_experiment_of_the_added_folder_is_unfolded(tmp_path, compose):
    """The best of a sweep that began from the best of another; typed choices win over it."""
    from src.launch.compose import plain
    from src.run.yaml_text import to_yaml

    fixed = ["experiment=demo", "optimizer=sgd", "schedule=wsd", "model.hidden=8"]
    first = make_sweep(tmp_path / "first", {"seed": ["1", "2"]}, overrides=fixed, results=[[0.5], [0.4]])
    (first / "1" / "config.yaml").write_text(to_yaml(plain(compose(*fixed))))
    write_best(first)
    second = make_sweep(
        tmp_path / "second",
        {"seed": ["1", "2"]},
        overrides=["schedule=constant", "experiment=best"],
        results=[[0.5], [0.4]],
    )
    trained = compose(f"hydra.searchpath=['file://{first}']", "experiment=best", "schedule=constant")
    (second / "1" / "config.yaml").write_text(to_yaml(plain(trained)))
    with pytest.raises(UserError, match="experiment=best is a choice of another folder"):
        write_best(second)
    path = write_best(second, added=first)
    again = compose(f"hydra.searchpath=['file://{second}']", "experiment=best")
    assert compared(again) == compared(trained), path.read_text()


def test_a_wrong_word_is_explained_with_the_choices_of_the_added_folder(tmp_path):
    """experiment=bst lists best; a key is looked up in what experiment=best composes."""
    from hydra.errors import MissingConfigException

    sweep = make_sweep(
        tmp_path / "sweep", {"model": ["transformer_tiny", "bilstm"]}, overrides=[], results=[[0.1], [0.2]]
    )
    write_best(sweep)
    words = ["-m", f"--config-dir={sweep}", "experiment=bst"]
    assert added_folder(words) == added_folder(["--config-dir", str(sweep)]) == sweep
    assert added_folder(["experiment=demo"]) is None
    missing = MissingConfigException("", "experiment/bst", [])
    said = explain(missing, arguments=words, config_dir=CONFIG_FOLDER)
    assert said == "experiment=bst is not a choice; did you mean experiment=best?" or "best, " in said, said
    words = [f"--config-dir={sweep}", "experiment=best", "model.num_layres=2"]
    composed = composed_without(words[-1], words, CONFIG_FOLDER, "train")
    assert "num_layers" in composed["model"]


def test_the_comment_says_where_it_comes_from_and_what_to_doubt(tmp_path):
    """Score, jobs, failed seeds; a config of which a seed failed is passed over."""
    sweep = make_sweep(tmp_path / "sweep", GRID, overrides=["data=demo"], fails=(5,))
    text = write_best(sweep).read_text()
    assert text.startswith("# @package _global_\n# Best of 12 jobs in sweep: val/loss ")
    assert "over 2 seeds (job 6, 7)." in text, "0.001 with max is better, but one of its seeds failed"
    assert "A config with a better mean was passed over" in text
    content = yaml.safe_load(text)
    assert content["model"] == {"pooling": "mean"}
    assert content["test"] is True
    assert "seed" not in content


def test_without_a_result_there_is_no_best(tmp_path):
    """Nor a file."""
    sweep = make_sweep(tmp_path / "sweep", {"optimizer.lr": ["0.1", "1"]}, fails=(0, 1))
    assert write_best(sweep) is None
    assert not (sweep / "experiment").exists()


def test_secrets_and_what_no_file_can_say_are_left_to_be_typed(tmp_path):
    """A redacted value would be taken for the value; a deletion has no form in a file."""
    sweep = make_sweep(
        tmp_path / "sweep",
        {"optimizer.lr": ["0.1", "1"]},
        overrides=["logger.wandb.api_key=abcdefghij", "~callbacks.throughput"],
        results=[[0.1], [0.2]],
    )
    text = write_best(sweep).read_text()
    assert "experiment=best '~callbacks.throughput' 'logger.wandb.api_key=<redacted>' seed=1,2,3" in text
    assert "logger" not in yaml.safe_load(text)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("optimizer=mine", "optimizer=mine is a choice of another folder"),
        ("model.nowhere=1", "has no model.nowhere"),
    ],
)
def test_what_it_cannot_express_is_refused(tmp_path, override, sentence):
    """Rather than left out."""
    sweep = make_sweep(tmp_path / "sweep", {"optimizer.lr": ["0.1", "1"]})
    facts = json.loads((sweep / "sweep.json").read_text())
    (sweep / "sweep.json").write_text(json.dumps({**facts, "overrides": [override]}))
    with pytest.raises(UserError, match=sentence):
        write_best(sweep)


def test_several_objectives_take_the_first_of_the_front(tmp_path):
    """And say that there are others."""
    sweep = make_sweep(
        tmp_path / "sweep",
        {"model.hidden": ["8", "16", "32"]},
        objectives={"val/f1": "maximize", "parameters": "minimize"},
        results=[[0.7, 10], [0.6, 20], [0.8, 30]],
        overrides=[],
    )
    text = write_best(sweep).read_text()
    assert yaml.safe_load(text)["model"] == {"hidden": 32}
    assert "best in val/f1 of 2 configs that no other one beats in all" in text


def test_it_can_be_written_again_from_the_folder_alone(tmp_path):
    """The sweep folder may move; the text depends on nothing else."""
    sweep = make_sweep(tmp_path / "a" / "sweep", overrides=[])
    first = write_best(sweep).read_text()
    moved = tmp_path / "b"
    moved.mkdir()
    sweep = sweep.rename(moved / "sweep")
    assert write_best(sweep).read_text() == first.replace(str(tmp_path / "a"), str(moved))
    assert json.loads((sweep / "sweep.json").read_text())["kind"] == "grid"
    assert Path(sweep / "experiment" / "best.yaml").is_file()
