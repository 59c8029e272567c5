"""A signal ends a run at once while it prepares, and at a safe place of its own choice while it trains."""

import os
import signal
import threading
import time
from contextlib import suppress

import pytest

from src.run.signals import ASKING, Interrupted, Terminated, blocked, ending, listen
from tests.conftest import door


@pytest.fixture(autouse=True)
def _interruptible():
    """A shell that starts the tests in the background ignores SIGINT for all its children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def send(number):
    os.kill(os.getpid(), number)
    time.sleep(0.01)  # Python runs the handler between two steps of its own


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_while_a_run_prepares_a_signal_ends_it_at_once(number):
    with listen() as signals, pytest.raises(Terminated) as caught:
        send(number)
    assert (caught.value.received, caught.value.code, signals.received) == (number, 143, number)


def test_ctrl_c_while_a_run_prepares_is_pythons_own():
    with listen(), pytest.raises(KeyboardInterrupt):
        send(signal.SIGINT)


@pytest.mark.parametrize("number", ASKING)
def test_a_held_signal_waits_until_the_run_looks(number):
    """The first one counts; those that follow it do not raise either."""
    with listen(insist=False) as signals:
        with signals.held():
            for again in (number, *ASKING):
                send(again)
        assert signals.received == number
        with pytest.raises(type(ending(number))):
            signals.look()


def test_a_second_ctrl_c_insists():
    with listen() as signals, signals.held():
        send(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_nothing_is_obeyed_that_was_not_asked():
    with listen() as signals:
        signals.look()
        signals.hear(0)
        signals.look()
        signals.hear(signal.SIGINT)
        with pytest.raises(Interrupted):
            signals.look()


def test_handlers_that_were_there_are_there_again():
    before = [signal.getsignal(number) for number in ASKING]
    with listen():
        assert all(signal.getsignal(number) != handler for number, handler in zip(ASKING, before, strict=True))
    assert [signal.getsignal(number) for number in ASKING] == before


def test_a_background_job_of_a_shell_still_ignores_ctrl_c():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with listen() as signals:
        send(signal.SIGINT)
        assert signals.received is None


def test_a_signal_waits_while_the_end_is_written_down():
    """In the presence of another thread too, which a process-wide signal may reach instead."""
    written = []

    def write():
        with blocked():
            send(signal.SIGTERM)
            written.append("all of it")

    threading.Thread(target=time.sleep, args=(0.1,)).start()
    with listen(), pytest.raises(Terminated):
        write()
    assert written == ["all of it"]


def test_an_error_that_a_signal_made_counts_as_the_signal():
    def half_an_import(*, interrupted):
        with listen():
            with suppress(KeyboardInterrupt):
                if interrupted:
                    send(signal.SIGINT)
            raise RecursionError("half of NumPy is imported")

    with pytest.raises(Interrupted):
        half_an_import(interrupted=True)
    with pytest.raises(RecursionError):
        half_an_import(interrupted=False)


def test_ctrl_c_while_a_door_is_imported_is_one_sentence(tmp_path):
    (tmp_path / "hydra.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\n")
    for name in ("train", "predict"):
        done = door(name, environment={"PYTHONPATH": f"{tmp_path}"})
        assert (done.returncode, done.stderr) == (130, "Stopped by SIGINT.\n")
