"""A search asks for the same points however often its driver dies, loses none and tries none twice."""

import errno
import fcntl
import json
import os
import random
import signal
import sys
import time

import pytest

from src.errors import UserError
from src.run.status import FAILED, FINISHED, KILLED, PRUNED
from src.sweep.space import read_space
from src.sweep.storage import JOURNAL, import_optuna, load_study, place_of
from src.sweep.study import Search
from tests.forked import Forked

SPACE = {
    "optimizer.lr": "log(1e-4, 1e-2)",
    "model.dropout": "interval(0.1, 0.5)",
    "model.hidden": "int(16, 128, 16)",
    "model.pooling": "choice(max, mean)",
}
TPE = {"name": "tpe", "startup": 5}
SAMPLERS = [TPE, {"name": "random"}, {"name": "nsgaii", "population": 4}]
LOSS = {"val/loss": "minimize"}


def make(folder, *, space=SPACE, objectives=LOSS, sampler=TPE, pruner=None, n_trials=14, seed=1, storage=None):
    return Search(
        space=read_space(space), objectives=objectives, sampler=sampler, pruner=pruner or {}, n_trials=n_trials,
        seed=seed, sweep=folder, place=place_of(folder, storage),
    )  # fmt: skip


def opened(folder, *, continued=False, known=(), retry_failed=False, **settings):
    search = make(folder, **settings)
    search.open(continued=continued, known=known, retry_failed=retry_failed)
    return search


def loss(overrides):
    """A valley that is lowest at lr 1e-3, dropout 0.1 and max."""
    found = dict(override.split("=") for override in overrides)
    away = abs(float(found["optimizer.lr"]) - 1e-3) * 1e3 + float(found["model.dropout"])
    return away + int(found["model.hidden"]) / 1000 + (found["model.pooling"] == "mean")


def work(search, trial):
    """One job of five ends without a value; its number decides."""
    state = (FINISHED, FINISHED, FAILED, FINISHED, PRUNED)[trial.number % 5]
    search.tell(trial.number, [loss(trial.overrides)] if state == FINISHED else None, state)


def uninterrupted(folder, **settings):
    folder.mkdir()
    search = opened(folder, **settings)
    asked = []
    while (trial := search.ask()) is not None:
        asked.append(trial)
        work(search, trial)
    return asked


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: sampler["name"])
def test_a_search_that_is_opened_anew_at_every_step_asks_what_an_uninterrupted_one_asks(tmp_path, sampler):
    """Half of the drivers leave between asking and telling, the others after it."""
    whole = uninterrupted(tmp_path / "whole", sampler=sampler)
    asked, draw = [], random.Random(0)
    (tmp_path / "pieces").mkdir()
    for _ in range(100):
        search = opened(tmp_path / "pieces", sampler=sampler, continued=bool(asked))
        left = search.running()
        assert len(left) <= 1
        trial = left[0] if left else search.ask()
        if trial is None:
            break
        if draw.random() < 0.5:
            continue
        asked.append(trial)
        work(search, trial)
    assert asked == whole
    assert [trial.number for trial in asked] == list(range(14))
    assert len({trial.overrides for trial in asked}) == 14


def test_a_driver_that_is_killed_at_random_times_loses_no_trial_and_repeats_none(tmp_path):
    """SIGKILL to real processes: the lock of the journal dies with them, and no trial is there by half."""
    whole = uninterrupted(tmp_path / "whole", n_trials=25)
    folder, draw, kills = tmp_path / "killed", random.Random(0), 0
    folder.mkdir()

    def drive():
        search = opened(folder, n_trials=25, continued=True)
        for trial in search.running():
            work(search, trial)
        while (trial := search.ask()) is not None:
            work(search, trial)
        return 0

    # Each is killed when the journal has a size somewhere in its own sixth of the whole one.
    size, journal = (tmp_path / "whole" / JOURNAL).stat().st_size, folder / JOURNAL
    sizes = [(number + draw.random()) / 6 * size for number in range(5)]
    code = -signal.SIGKILL
    while code:
        process = Forked(drive, dict(os.environ))
        while sizes and process.poll() is None and (not journal.exists() or journal.stat().st_size < sizes[0]):
            time.sleep(0.001)
        if sizes and process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            sizes.pop(0)
        code = process.wait(60)
        assert code in (0, -signal.SIGKILL)
        kills += code != 0
    assert kills >= 3
    study = load_study(folder, storage=None, name="search")
    assert [trial.number for trial in study.trials] == list(range(25))
    asked = [make(folder)._trial(trial) for trial in study.trials]
    assert asked == whole
    assert not [trial for trial in study.trials if trial.state.name == "RUNNING"]


def test_a_database_keeps_several_searches_of_folders_of_one_name_too(tmp_path):
    storage = f"sqlite:///{tmp_path}/all.db"
    for parent in ("one", "two"):
        folder = tmp_path / parent / "sweep"
        folder.mkdir(parents=True)
        search = opened(folder, storage=storage, n_trials=2)
        work(search, search.ask())
        again = make(folder, storage=storage, n_trials=2)
        again.place = search.place  # sweep.json keeps it
        again.open(continued=True)
        assert again.ask().number == 1
        with pytest.raises(UserError, match=r"holds a study sweep_[0-9a-f]+ already"):
            again.open(continued=False)


@pytest.mark.parametrize("typed", ["search.db", "sqlite:///", "sqlite:///:memory:", "postgresql://host/db"])
def test_a_storage_is_the_journal_or_a_file(tmp_path, typed):
    with pytest.raises(UserError, match=r"hydra.sweeper.storage .* must be null, for study.journal"):
        place_of(tmp_path, typed)


def test_a_database_in_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match="is in a folder that does not exist"):
        place_of(tmp_path, f"sqlite:///{tmp_path}/none/search.db")


def test_a_study_without_trials_is_taken_by_who_begins_again(tmp_path):
    """A driver that was killed before it wrote sweep.json leaves one."""
    opened(tmp_path)
    search = opened(tmp_path)
    assert search.ask().number == 0
    with pytest.raises(UserError, match="holds a study search already"):
        opened(tmp_path)


def test_a_line_that_was_cut_short_is_removed(tmp_path):
    """Optuna appends to it, and can never read the file again."""
    search = opened(tmp_path)
    work(search, search.ask())
    trial, journal = search.ask(), tmp_path / JOURNAL
    journal.write_bytes(journal.read_bytes() + b'{"op_code": 6, "worker')
    again = opened(tmp_path, continued=True)
    assert again.running() == [trial]
    work(again, trial)
    assert [json.loads(line)["op_code"] for line in journal.read_text().splitlines()] == [0, 4, 6, 4, 6]


def test_a_file_system_without_locks_gets_optunas(tmp_path, monkeypatch):
    def lacking(descriptor, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", lacking)
    search = opened(tmp_path)
    work(search, search.ask())
    assert opened(tmp_path, continued=True).ask().number == 1
    assert [path.name for path in tmp_path.iterdir() if path.is_symlink()] == []


def test_n_trials_is_the_total_and_may_be_raised(tmp_path):
    first = uninterrupted(tmp_path / "a", n_trials=4)
    assert opened(tmp_path / "a", n_trials=4, continued=True).ask() is None
    longer = opened(tmp_path / "a", n_trials=6, continued=True)
    assert longer.ask() == uninterrupted(tmp_path / "b", n_trials=6)[4]
    assert len(first) == 4


@pytest.mark.parametrize(
    ("values", "state"),
    [
        ([float("nan")], FINISHED),
        ([float("inf")], FINISHED),
        (None, FINISHED),
        ([1.0, 2.0], FINISHED),
        (None, FAILED),
        ([0.0], KILLED),
    ],
)
def test_what_is_no_value_is_a_failed_trial(tmp_path, values, state):
    """And the sampler goes on without it."""
    search = opened(tmp_path, sampler={"name": "tpe", "startup": 1})
    trial = search.ask()
    search.tell(trial.number, values, state)
    assert search.trials()[0].state.name == "FAIL"
    work(search, search.ask())
    assert search.ask().number == 2
    assert search.study.best_trial.number == 1


def test_who_is_told_twice_keeps_the_first(tmp_path):
    search = opened(tmp_path)
    number = search.ask().number
    search.tell(number, [1.0], FINISHED)
    search.tell(number, [2.0], FINISHED)
    search.tell(number, None, FAILED)
    assert [(trial.value, trial.state.name) for trial in search.trials()] == [(1.0, "COMPLETE")]


def test_jobs_at_the_same_time_get_points_of_their_own(tmp_path):
    search = opened(tmp_path, sampler={"name": "tpe", "startup": 2})
    for _ in range(3):
        work(search, search.ask())
    asked = [search.ask() for _ in range(3)]
    assert len({trial.overrides for trial in asked}) == 3
    assert opened(tmp_path, continued=True).running() == asked


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: sampler["name"])
def test_a_small_space_is_tried_whole_and_no_point_twice(tmp_path, sampler):
    space = {"a": "choice(1, 2)", "b": "int(1, 3)", "c": "choice(x)"}
    search, asked = opened(tmp_path, space=space, sampler=sampler, n_trials=20), []
    while (trial := search.ask()) is not None:
        asked.append(trial.overrides)
        search.tell(trial.number, [0.5], FINISHED)
    assert sorted(asked) == [(f"a={a}", f"b={b}", "c=x") for a in (1, 2) for b in (1, 2, 3)]
    assert search.over == "After 6 trials the space has no point left that was not tried; the search ends."


def test_failed_points_are_tried_again_when_that_is_asked_for(tmp_path):
    """As new trials, which n_trials does not count."""
    search = opened(tmp_path, n_trials=3)
    asked = [search.ask() for _ in range(3)]
    search.tell(0, [0.5], FINISHED)
    search.tell(1, None, FAILED)
    search.tell(2, [0.5], FINISHED)
    assert opened(tmp_path, n_trials=3, continued=True).ask() is None
    again = opened(tmp_path, n_trials=4, continued=True, retry_failed=True)
    retried = again.ask()
    assert (retried.number, retried.overrides) == (3, asked[1].overrides)
    again.tell(3, [0.5], FINISHED)
    new = again.ask()
    assert new.overrides not in [trial.overrides for trial in asked]
    again.tell(new.number, [0.5], FINISHED)
    assert again.ask() is None
    assert opened(tmp_path, n_trials=4, continued=True, retry_failed=True).ask() is None


def test_several_objectives_have_a_value_each(tmp_path):
    both = {"val/f1": "maximize", "parameters": "minimize"}
    search = opened(tmp_path, objectives=both, sampler={"name": "nsgaii", "population": 2}, n_trials=6)
    for number in range(6):
        search.tell(search.ask().number, [number / 10, 10.0 + number], FINISHED)
    assert [trial.number for trial in search.study.best_trials] == list(range(6))
    with pytest.raises(UserError, match="needs one objective"):
        make(tmp_path, objectives=both, pruner={"name": "median", "startup": 1, "warmup": 0})


def test_a_search_that_lost_its_trials_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"has 0 trials, and the sweep in .* has a job of trial 3"):
        opened(tmp_path, continued=True, known=[0, 3])
    with pytest.raises(UserError, match=r"study.journal holds no study search"):
        load_study(tmp_path / "nowhere", storage=None, name="search")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sampler": {"name": "grid"}}, r"hydra.sweeper.sampler.name \(grid\) must be one of tpe, random, nsgaii"),
        ({"sampler": {"name": "tpe"}}, "startup is missing"),
        ({"sampler": {"name": "random", "startup": 3}}, "startup .* is not a setting of random; it has none"),
        ({"sampler": {"name": "tpe", "startup": 1.5}}, "must be a whole number"),
        ({"sampler": {"name": "nsgaii", "population": 1}}, "population .* must be 2 or more"),
        ({"pruner": {"name": "asha"}}, "must be one of median, halving"),
        ({"pruner": {"name": "halving", "first": 1, "factor": 3}, "objectives": {"seconds": "minimize"}}, "of val"),
        ({"seed": -1}, "must be 0 or more"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_written(tmp_path, settings, words):
    with pytest.raises(UserError, match=words):
        make(tmp_path, **settings)
    assert list(tmp_path.iterdir()) == []


def test_cmaes_is_refused_where_it_cannot_work(tmp_path, monkeypatch):
    cmaes = {"name": "cmaes", "startup": 2}
    monkeypatch.setattr("src.sweep.sampler.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install cmaes"):
        make(tmp_path, sampler=cmaes)
    monkeypatch.setattr("src.sweep.sampler.find_spec", lambda name: object())
    with pytest.raises(UserError, match=r"model.pooling is a choice; use tpe"):
        make(tmp_path, sampler=cmaes)
    with pytest.raises(UserError, match="two axes or more"):
        make(tmp_path, sampler=cmaes, space={"a": "interval(0, 1)"})
    make(tmp_path, sampler=cmaes, space={"a": "interval(0, 1)", "b": "int(1, 5)"})


def test_a_machine_without_optuna_is_told_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[sweep\]'"):
        import_optuna()
