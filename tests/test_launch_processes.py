"""The launcher ends every run of several processes in order: real processes, which stand in for ranks that train."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from src.errors import RankFailed, UserError
from src.launch import processes, watch
from src.launch.meeting import Loopback
from src.run.folder import RunFolder
from src.run.heartbeat import read_beats
from src.run.signals import Interrupted, Terminated, listen
from tests.forked import Forked, settle

CONFIG = {"trainer": {"strategy": {"timeout": 1.0}}}


@pytest.fixture
def launch(tmp_path, monkeypatch):
    """`launch({"1": "bug"})`: what the launcher raises for two ranks that follow this script, None if nothing."""
    monkeypatch.setattr(processes, "WORKER", "tests.stand_in")
    monkeypatch.setattr(watch, "MARGIN", 0.5)
    monkeypatch.setattr(watch, "AFTER_FAILURE", 0.5)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    run = RunFolder.claim(tmp_path / "run")

    def launched(script, meanwhile=None):
        (run.path / "script.json").write_text(json.dumps(script))
        with listen() as signals:
            if meanwhile is not None:
                threading.Thread(target=meanwhile, args=(run,), daemon=True).start()
            try:
                processes.run_processes(CONFIG, run, count=2, signals=signals)
            except BaseException as error:
                return error
            finally:
                left = settle({str(rank): beat.pid for rank, beat in read_beats(run.logs).items()})
                assert left == []
        return None

    launched.run = run
    yield launched
    run.release()


def wait_for(run, *, marks, ranks=2):
    """pids of the ranks once all of them have come so far."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        beats = read_beats(run.logs)
        if len(beats) == ranks and all(beat.marks >= marks for beat in beats.values()):
            return {rank: beat.pid for rank, beat in beats.items()}
        time.sleep(0.02)
    raise AssertionError(f"the ranks did not start: {beats}")


def test_ranks_that_end_well_end_the_run_well_and_log_to_files_of_their_own(launch):
    """The words of child processes too; and each rank gets its share of the cores."""
    assert launch({"0": "done", "1": "done"}) is None
    threads = max(1, len(os.sched_getaffinity(0)) // 2)
    said = (launch.run.logs / "rank-1.log").read_text()
    assert f"rank 1 of 2: done, {os.environ.get('OMP_NUM_THREADS', threads)} threads" in said
    assert "from a child process" in said
    assert "rank 0 of 2: done" in (launch.run.logs / "rank-0.log").read_text()


@pytest.mark.parametrize(
    ("number", "kind", "code"),
    [(signal.SIGINT, Interrupted, 130), (signal.SIGUSR1, Terminated, 143)],
)
def test_a_signal_to_the_launcher_reaches_every_rank(launch, number, kind, code):
    def tell(run):
        wait_for(run, marks=3)
        os.kill(os.getpid(), number)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    try:
        error = launch({}, tell)
    finally:
        signal.signal(signal.SIGINT, before)
    assert isinstance(error, kind)
    assert (error.code, error.received) == (code, number)
    outcomes = {rank: beat.outcome for rank, beat in read_beats(launch.run.logs).items()}
    assert {rank: (outcome.exit_code, outcome.signal) for rank, outcome in outcomes.items()} == {
        0: (code, number.name),
        1: (code, number.name),
    }


def test_a_second_ctrl_c_does_not_wait_for_ranks_that_do_not_come_to_an_end(launch, monkeypatch):
    monkeypatch.setattr(watch, "MARGIN", 60)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def tell(run):
        wait_for(run, marks=1)
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.3)

    try:
        error = launch({"0": "stubborn", "1": "stubborn"}, tell)
    finally:
        signal.signal(signal.SIGINT, before)
    assert type(error) is KeyboardInterrupt


def test_a_signal_to_one_rank_ends_the_run_with_that_signal(launch):
    def tell(run):
        os.kill(wait_for(run, marks=3)[1], signal.SIGTERM)

    error = launch({}, tell)
    assert isinstance(error, Terminated)


def test_a_rank_that_obeys_a_signal_before_its_first_beat_ends_the_run_with_that_signal(launch):
    """Its exit code is then all that it says."""
    assert isinstance(launch({"1": "go"}), Terminated)


@pytest.mark.parametrize(
    ("word", "kind", "code", "words"),
    [
        ("bug", RankFailed, 1, "Rank 1: ValueError: an unforeseen value"),
        ("mistake", UserError, 2, "data.path (nowhere) does not exist; name a folder."),
        ("SIGKILL", RankFailed, 137, "Rank 1 was killed by SIGKILL"),
        ("leave", RankFailed, 7, "Rank 1 ended with exit code 7"),
    ],
)
def test_the_rank_that_failed_gives_the_exit_code_and_the_reason(launch, word, kind, code, words, capfd):
    """The other rank would go on for ever; what the bug's traceback says is said once, by the launcher."""
    error = launch({"1": word})
    assert type(error) is kind
    assert error.exit_code == code
    assert words in str(error)
    assert str(error).count("Traceback") == (word == "bug")
    assert "Traceback" not in "".join(capfd.readouterr())


@pytest.mark.parametrize(("word", "words"), [("SIGSTOP", "no sign of life"), ("sleep", "tests/stand_in.py")])
def test_a_rank_that_hangs_is_named(launch, word, words, monkeypatch):
    """Stopped as a whole, or asleep with a heart that beats: then the line says where."""
    monkeypatch.setattr("src.launch.verdict.QUIET", 1.2)
    error = launch({"1": word})
    assert isinstance(error, RankFailed)
    assert error.exit_code == 1
    assert f"Rank 1 (process {read_beats(launch.run.logs)[1].pid}) hangs" in str(error)
    assert words in str(error)


def test_the_rank_that_gave_up_waiting_is_not_the_one_to_blame(launch, monkeypatch):
    """Rank 0 fails in a collective of its own timeout; rank 1 is the one that did not come."""
    monkeypatch.setattr(watch, "MARGIN", 60)
    error = launch({"0": "lost", "1": "sleep"})
    assert "Rank 1 (process" in str(error)
    assert "hangs" in str(error)


def test_ranks_die_with_their_launcher(launch, tmp_path):
    """A killed launcher gives its lock up, so nobody may still write into the folder."""
    run = RunFolder(tmp_path / "other")

    def work():
        claimed = RunFolder.claim(run.path)
        (run.path / "script.json").write_text("{}")
        with listen() as signals:
            processes.run_processes(CONFIG, claimed, count=2, signals=signals)
        return 0

    launcher = Forked(work, dict(os.environ))
    ranks = wait_for(run, marks=3)
    os.kill(launcher.pid, signal.SIGKILL)
    assert launcher.wait() == -signal.SIGKILL
    assert settle({str(rank): pid for rank, pid in ranks.items()}) == []


def test_the_ranks_meet_on_the_loopback_interface_only():
    """torch's own store listens on every interface."""
    meeting = Loopback("run")
    suffix = f":{meeting.next_rendezvous().bootstrap_store_info.master_port:04X}"
    rows = [row.split() for name in ("tcp", "tcp6") for row in Path(f"/proc/net/{name}").read_text().splitlines()]
    listening = [row[1] for row in rows if row[1].endswith(suffix) and row[3] == "0A"]
    assert listening == [f"0100007F{suffix}"]
