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
