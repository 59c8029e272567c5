"""Why a run of several processes ended: the one rank that ended on its own, in a sentence and an exit code."""

import signal

from src.errors import Diverged, Pruned, RankFailed, UserError
from src.launch.watch import Watch, obeyed
from src.run.heartbeat import Beat, Outcome, read_beats
from src.run.signals import ASKING, ending

# A worker's exit codes for ends that are no bug; the parent repeats the rank's own sentence.
KNOWN = {kind.exit_code: kind for kind in (UserError, Diverged, Pruned)}

# Seconds without a beat, which comes every second, after which a process itself stands still.
QUIET = 5.0


def verdict(watch: Watch) -> BaseException | None:
    """What the parent must raise once all ranks have ended; None if all of them ended well.

    In this order: a rank that hangs, a rank killed by a signal that nobody obeys, the first rank with a reason of its
    own (an exception, or a signal that it obeyed), and only then ranks that lost the connection to another.
    """
    if watch.hung is not None:
        return hangs(watch.hung, seen=watch.seen_hung)
    failed = {rank: code for rank, code in watch.ended.items() if code and rank not in watch.killed}
    beats = read_beats(watch.logs)
    outcomes = {rank: beats[rank].outcome if rank in beats else None for rank in watch.ended}
    for rank, code in failed.items():
        if code < 0 and not obeyed(code, outcomes[rank]):
            return killed(rank, signal.Signals(-code))
    if spoken := first_word(outcomes):
        return said(*spoken)
    for rank, code in failed.items():
        # A rank may obey a signal before it can say so.
        number = -code if code < 0 else code - 128
        if code < 0 or number in ASKING:
            return ending(signal.Signals(number))
        return RankFailed(f"Rank {rank} ended with exit code {code} and no word; see {log(rank)}.", exit_code=code)
    return None


def first_word(outcomes: dict[int, Outcome | None]) -> tuple[int, Outcome] | None:
    """The rank that failed first, and how; one that only lost the others comes behind all that did not.

    Last of all comes one that did not fail and has something to say: the run was pruned.
    """
    ended = [(rank, outcome) for rank, outcome in outcomes.items() if outcome is not None]
    spoken = [(rank, outcome) for rank, outcome in ended if outcome.exit_code or outcome.sentence]
    return min(spoken, key=lambda pair: (pair[1].exit_code == 0, pair[1].lost, pair[1].at), default=None)


def log(rank: int) -> str:
    """Where the rank's output is, in the run folder."""
    return f"logs/rank-{rank}.log"


def killed(rank: int, number: signal.Signals) -> RankFailed:
    hint = " The system does that when memory runs out." if number == signal.SIGKILL else ""
    return RankFailed(f"Rank {rank} was killed by {number.name}; see {log(rank)}.{hint}", exit_code=128 + number)


def said(rank: int, outcome: Outcome) -> BaseException:
    """The rank's own end, as if it had happened here."""
    if outcome.signal is not None:
        return ending(signal.Signals[outcome.signal])
    if outcome.exit_code in KNOWN:
        return KNOWN[outcome.exit_code](outcome.sentence)
    trace = f"\n{outcome.traceback}" if outcome.traceback else ""
    return RankFailed(f"Rank {rank}: {outcome.sentence} See {log(rank)}.{trace}", exit_code=outcome.exit_code)


def hangs(beat: Beat, *, seen: float) -> RankFailed:
    """A rank that did not come, as it was seen at that time: stopped as a whole, or alive and standing somewhere."""
    silent = seen - beat.at
    if silent > QUIET:
        sign = f"gave no sign of life for {silent:.0f} s; it was at {beat.place}"
    else:
        sign = f"has not moved for {seen - beat.moved:.0f} s since {beat.place}; it stands at {beat.line}"
    sentence = f"Rank {beat.rank} (process {beat.pid}) hangs: it {sign}. See {log(beat.rank)}."
    return RankFailed(sentence, exit_code=1)
