"""Rules about who starts the processes of a run."""

from typing import Any

from src.check.facts import Facts, ask
from src.check.global_batch import count_devices
from src.check.targets import walk
from src.run.secrets import find_secrets, redact


def other_machines_need_a_launcher(config: dict[str, Any], facts: Facts) -> str | None:
    nodes = ask(config, "trainer.num_nodes", 1)
    if nodes == 1 or config.get("launcher") or facts.elsewhere:
        return None
    return (
        f"trainer.num_nodes ({nodes}) is more than this machine, which cannot start processes on others. On a Slurm "
        "cluster choose launcher=sbatch; elsewhere launcher=sbatch dry_run=true writes the run folder, and torchrun "
        "starts src.launch.worker <run folder> on every machine."
    )


def processes_are_counted(config: dict[str, Any], facts: Facts) -> str | None:
    """The launcher starts one process per device before any of them has looked for devices."""
    devices, strategy = ask(config, "trainer.devices", 1), ask(config, "trainer.strategy", "auto")
    counted = isinstance(devices, list) or (isinstance(devices, int) and devices > 0)
    if strategy == "auto" or counted:
        return None
    return f"trainer.devices ({devices}) must be a number, or a list of devices, with several processes."


def ranks_read_no_secrets(config: dict[str, Any], facts: Facts) -> str | None:
    """What several processes train is read from config.yaml, which keeps none."""
    if count_devices(ask(config, "trainer.devices", 1)) == 1 and not config.get("launcher"):
        return None
    hidden = dict(walk(redact(config, known=find_secrets(config))))
    for key, value in walk(config):
        if isinstance(value, str | int | float) and hidden.get(key) != value:
            return (
                f"{key} holds a secret, which config.yaml does not keep and the processes of the run would not get. "
                "Leave it out and set the environment variable for it."
            )
    return None
