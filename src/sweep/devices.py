"""Which GPUs and cores a job has for itself while others run beside it."""

from collections.abc import Mapping, Sequence

from src.errors import UserError
from src.sweep.jobs import Job

VISIBLE = "CUDA_VISIBLE_DEVICES"


class Gpus:
    """The GPUs that jobs share out between them, by the names that CUDA_VISIBLE_DEVICES takes."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self.taken: dict[Job, list[str]] = {}

    def take(self, job: Job) -> dict[str, str]:
        """Variables for the job: GPUs that nobody has, else the least busy ones; none for a job on the CPU."""
        if not job.gpus:
            return {}
        busy = [name for names in self.taken.values() for name in names]
        self.taken[job] = sorted(self.names, key=busy.count)[: job.gpus]
        return {VISIBLE: ",".join(self.taken[job])}

    def give_back(self, job: Job) -> None:
        """The job has ended."""
        self.taken.pop(job, None)

    def check(self, *, gpus: int, parallel: int) -> str | None:
        """Whether `parallel` jobs of so many GPUs each fit; a line to print where they must share.

        Raises:
            UserError: jobs of several GPUs do not fit beside each other.
        """
        if parallel == 1 or gpus * parallel <= len(self.names):
            return None
        if gpus == 1 and self.names:
            return f"{parallel} jobs at once share {len(self.names)} GPU{'s' * (len(self.names) > 1)}."
        raise UserError(
            f"hydra.launcher.parallel ({parallel}) jobs of trainer.devices ({gpus}) need {gpus * parallel} GPUs, and "
            f"{len(self.names)} are visible. Give hydra.launcher.parallel={max(1, len(self.names) // gpus)}."
        )


def visible_gpus(count: int, variables: Mapping[str, str]) -> list[str]:
    """Names of the GPUs this process may use. count: how many CUDA finds, as that already counts visible ones only."""
    named = [name.strip() for name in variables.get(VISIBLE, "").split(",") if name.strip()]
    return named[:count] if named else [str(number) for number in range(count)]


def cores_of(cores: Sequence[int], *, slot: int, parallel: int) -> set[int]:
    """The share of one of `parallel` slots: neighbours, as even as can be; a single one where there are too few."""
    if parallel >= len(cores):
        return {cores[slot % len(cores)]}
    return set(cores[slot * len(cores) // parallel : (slot + 1) * len(cores) // parallel])
