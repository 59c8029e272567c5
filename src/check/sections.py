"""Sections of the root that no constructor describes."""

from typing import Annotated, TypedDict


class Paths(TypedDict):
    """Folders. run_dir is null until the run has made its folder."""

    output_dir: str
    cache_dir: str
    run_dir: str | None


class Accumulation(TypedDict, total=False):
    """Size of one optimizer step, in micro-batches or in tokens."""

    batches: Annotated[int, ">= 1"]
    tokens: Annotated[int, ">= 1"]


class Launcher(TypedDict, total=False):
    """What a batch job asks its cluster for; empty for a run on this machine."""

    nodes: Annotated[int, ">= 1"]
    tasks_per_node: Annotated[int, ">= 1"]
    gpus_per_node: Annotated[int, ">= 0"]
    gpu_type: str | None
    cpus_per_task: Annotated[int, ">= 1"]
    memory: int | str | None
    time: int | str | None
    partition: str | None
    account: str | None
    qos: str | None
    constraint: str | None
    signal_seconds: Annotated[int, ">= 1"]
    requeue: bool
