"""What several rooms' tests share: composing the real config, and one finished run on the demo corpus."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import src  # noqa: F401  first: what it sets only counts before torch is imported

ROOT = Path(__file__).parents[1]
IMDB = ROOT.parent / "shared" / "data" / "imdb"


def pytest_configure(config):
    """A machine with GPUs tests what one without does; theirs is `pytest -m gpu`."""
    chosen = config.getoption("markexpr")
    if "gpu" not in chosen or "not gpu" in chosen:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


# A run that takes seconds: a slice of the demo corpus and a small network.
SMALL = [
    "data=demo",
    "data.reader.num_reviews=400",
    "model.width=16",
    "model.hidden=16",
    "trainer.max_epochs=2",
    "trainer.accelerator=cpu",
]


@pytest.fixture(scope="session")
def compose():
    """`compose("optimizer=sgd", ...)` -> the DictConfig of a train command line with these overrides."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    from src.launch.compose import CONFIG_FOLDER, register_resolvers

    register_resolvers()

    def composed(*overrides, config_name="train"):
        with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
            return hydra_compose(config_name, overrides=list(overrides))

    return composed


def door(name, *arguments, input=None, cwd=ROOT, environment=None, timeout=120):
    """Run `python -m src.<name>` as a user would; returns the finished process with text output."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})}
    command = [sys.executable, "-m", f"src.{name}", *arguments]
    return subprocess.run(command, cwd=cwd, input=input, capture_output=True, text=True, timeout=timeout, env=variables)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """The folder of a small run on the demo corpus, made once through the door and read by many tests."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    outputs = folder.parent / "outputs"
    done = door("train", *SMALL, f"hydra.run.dir={folder}", f"paths.output_dir={outputs}")
    assert done.returncode == 0, done.stderr + done.stdout
    (folder.parent / "stdout.txt").write_text(done.stdout)
    return folder


# A transformer that takes seconds, as a language model and as a classifier.
SMALL_TRANSFORMER = ["model.width=32", "model.num_layers=2", "model.num_heads=2", "model.feed_forward_width=64"]
SHORT_RUN = ["data.reader.num_reviews=400", "trainer.accelerator=cpu", "trainer.max_epochs=1"]


@pytest.fixture(scope="session")
def language_model_run(tmp_path_factory):
    """The folder of a language model that read the demo corpus for a moment."""
    folder = tmp_path_factory.mktemp("language_model")
    arguments = ["model=transformer_tiny", "data=demo_text", *SMALL_TRANSFORMER, *SHORT_RUN]
    done = door("train", *arguments, f"paths.output_dir={folder}", f"hydra.run.dir={folder}/run")
    assert done.returncode == 0, done.stderr + done.stdout
    return folder / "run"
