"""A sweep goes on with the command it was started with, and with no other."""

import json

import pytest

from src.errors import UserError
from src.launch.sweeping.choices import check_choices
from src.launch.sweeping.continuing import axes_without_secrets, open_sweep, sweep_command, without_secrets

FACTS = {
    "kind": "grid",
    "overrides": ["data=demo", "trainer.max_epochs=2"],
    "axes": {"seed": ["1", "2"]},
    "objectives": {"val/loss": "minimize"},
    "sampler": None,
    "pruner": None,
    "seed": None,
}


@pytest.fixture
def sweep(tmp_path):
    """A sweep folder below outputs/sweeps of tmp_path."""
    folder = tmp_path / "outputs" / "sweeps" / "2026-01-01_00-00-00_0a1b"
    folder.mkdir(parents=True)
    command = ["-m", "data=demo", "seed=1,2", "trainer.max_epochs=2", "hydra.sweep.dir=elsewhere", "resume=auto"]
    (folder / "sweep.json").write_text(json.dumps({**FACTS, "command": command}))
    return folder


@pytest.mark.parametrize("how", ["path", "name", "end of the name"])
def test_resume_of_a_sweep_is_its_own_command_in_its_own_folder(sweep, monkeypatch, tmp_path, how):
    monkeypatch.chdir(tmp_path)
    name = {"path": str(sweep), "name": sweep.name, "end of the name": "0a1b"}[how]
    assert sweep_command(["-m", f"resume={name}", "hydra.launcher.parallel=2"]) == [
        *("-m", "data=demo", "seed=1,2", "trainer.max_epochs=2", "hydra.launcher.parallel=2"),
        *(f"hydra.sweep.dir='{sweep.relative_to(tmp_path).absolute()}'", "resume=auto"),
    ]


@pytest.mark.parametrize(
    "words", [["resume=auto", "-m"], ["-m", "seed=1,2"], ["resume=outputs/train/some_run"], ["data=demo"]]
)
def test_other_commands_are_left_as_they_are(words):
    assert sweep_command(words) == words


def test_a_sweep_that_does_not_exist_is_answered_with_those_that_do(sweep, tmp_path):
    words = ["-m", "resume=nothing", f"paths.output_dir={tmp_path}/outputs"]
    with pytest.raises(UserError, match=rf"resume \(nothing\) is no sweep.*: {sweep.name}\. Without -m"):
        sweep_command(words)


def test_a_command_that_held_a_secret_has_to_be_typed_again(sweep):
    words = without_secrets(["-m", "logger.wandb.api_key=0123456789abcdef", "seed=1,2"])
    assert words[1] == "logger.wandb.api_key=<redacted>"
    (sweep / "sweep.json").write_text(json.dumps({**FACTS, "command": words}))
    with pytest.raises(UserError, match=r"held a secret.*resume=auto"):
        sweep_command(["-m", f"resume={sweep}"])


def test_the_record_keeps_no_secret_of_an_axis_and_one_that_did_is_continued(sweep, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_S3cretS3cret")
    grid = {"tags": ["[https://u:secretpw@h/a]", "[hf_S3cretS3cret]"], "logger.wandb.api_key": ["abc", "def"]}
    hidden = {
        "tags": ["[https://u:<redacted>@h/a]", "[<redacted>]"],
        "logger.wandb.api_key": ["<redacted>", "<redacted>"],
    }
    assert axes_without_secrets(grid) == axes_without_secrets(hidden) == hidden
    assert axes_without_secrets({"tags": "choice(hf_S3cretS3cret, b c)"}) == {"tags": "choice(<redacted>, b c)"}
    (sweep / "sweep.json").write_text(json.dumps({**FACTS, "axes": grid}))
    assert open_sweep(sweep, {**FACTS, "axes": hidden}, resume="auto")


def test_the_same_sweep_is_continued_whatever_the_order_of_its_axes(sweep):
    facts = {**FACTS, "axes": {"seed": ["1", "2"]}, "command": [], "jobs": 7}
    assert open_sweep(sweep, facts, resume="auto")
    assert not open_sweep(sweep / "new", facts, resume="auto")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"axes": {"seed": ["1", "2", "3"]}}, r"axes seed was 1,2, is 1,2,3"),
        ({"axes": {"seed": ["1", "2"], "data": ["a", "b"]}}, r"axes data was None, is a,b"),
        ({"overrides": ["data=demo", "trainer.max_epochs=3"]}, r"without trainer.max_epochs=2, with trainer.max_ep"),
        ({"kind": "search"}, r"kind was grid, is search"),
    ],
)
def test_another_command_is_refused_with_the_difference(sweep, change, sentence):
    with pytest.raises(UserError, match=sentence):
        open_sweep(sweep, {**FACTS, **change}, resume="auto")


def test_a_folder_is_not_continued_unasked(sweep, tmp_path):
    with pytest.raises(UserError, match=r"already holds a sweep\. Continue it with -m resume="):
        open_sweep(sweep, FACTS, resume="never")
    with pytest.raises(UserError, match=r"resume \(must\) found no sweep"):
        open_sweep(tmp_path, FACTS, resume="must")
    (tmp_path / "3").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").touch()
    with pytest.raises(UserError, match=r"holds runs of something else"):
        open_sweep(tmp_path / "run", FACTS, resume="auto")
    with pytest.raises(UserError, match=r"holds runs of something else"):
        open_sweep(tmp_path, FACTS, resume="auto")


@pytest.mark.parametrize("word", ["hydra/launcher=joblib", "hydra/launcher=submitit_slurm", "hydra/sweeper=basic"])
def test_launchers_that_run_jobs_inside_one_process_are_refused(word):
    with pytest.raises(UserError, match=rf"{word} is not a choice here.*use hydra/"):
        check_choices(["-m", word, "seed=1,2"])
    check_choices(["-m", "hydra/launcher=slurm", "hydra/sweeper=grid", "seed=1,2"])
