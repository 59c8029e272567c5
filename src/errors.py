"""The ways a job may fail on purpose, each with its exit code; anything else is a bug and keeps its traceback."""


class UserError(Exception):
    """Something typed or given is wrong: one or two sentences with the key, the value, what is legal, the way out."""

    exit_code = 2


class Diverged(Exception):
    """Loss, gradient or monitored metric stopped being a finite number."""

    exit_code = 3


class Pruned(Exception):
    """The search that this run is a trial of has seen enough: the run did what it was asked, and has no result."""

    exit_code = 0


class RankFailed(Exception):
    """One of a run's processes ended on its own, and with it the run; `exit_code` is that process's."""

    def __init__(self, sentence: str, *, exit_code: int) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code
