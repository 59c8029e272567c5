"""What a run did, a line per batch, validation and test, and whether the pieces of killed processes make a whole."""

import os
import zlib
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import lightning
import torch
from lightning.pytorch.trainer.states import TrainerFn

BATCH, VALIDATION, AT_THE_END, TEST = "batch", "validation", "validation at the end", "test"


class Event(NamedTuple):
    """kind and place name it once in a run; value is all that a resumed run must repeat to the bit."""

    kind: str
    place: str
    value: str


class Record(lightning.Callback):
    """Appends events to a file as they are complete: a SIGKILL loses none that was written, and there is no other copy.

    Of a batch: loss and learning rate to the bit, and a checksum of the examples that were read.
    """

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def write(self, event: Event) -> None:
        os.write(self.descriptor, ("\t".join(event) + "\n").encode())

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        tensors = [part for part in batch if isinstance(part, torch.Tensor)]
        rows = zlib.crc32(b"".join(tensor.numpy().tobytes() for tensor in tensors))
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        place = f"epoch {trainer.current_epoch} batch {batch_idx} step {trainer.global_step}"
        self.write(Event(BATCH, place, f"{outputs['loss'].item().hex()} {float(rate).hex()} {rows:08x}"))

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        kind = VALIDATION if trainer.state.fn == TrainerFn.FITTING else AT_THE_END
        self.write(Event(kind, f"step {trainer.global_step}", scores(trainer, "val/")))

    def on_test_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self.write(Event(TEST, "", scores(trainer, "test/")))


def scores(trainer: lightning.Trainer, prefix: str) -> str:
    """Name and value of every metric of one split."""
    found = {name: value.item() for name, value in trainer.callback_metrics.items() if name.startswith(prefix)}
    return " ".join(f"{name}={value.hex()}" for name, value in sorted(found.items()))


def read_events(path: Path) -> list[Event]:
    """Those that a process lived to write; none if it did not come so far as to open the file."""
    text = path.read_text() if path.exists() else ""
    return [Event(*line.split("\t")) for line in text.splitlines()]


def compare_pieces(whole: list[Event], pieces: list[list[Event]]) -> Iterator[tuple[str, str]]:
    """What is wrong with the pieces that one process after the other added to a run: (what differs, a sentence).

    Each must be a piece of the whole run without a gap that begins no later than where the ones before have ended.
    A validation that a process left out after its last step is found too, although an earlier process may have run it.
    """
    places, reached = {event[:2]: number for number, event in enumerate(whole)}, 0
    for number, piece in enumerate(pieces):
        start = places.get(piece[0][:2], -1) if piece else reached
        if start < 0:
            yield "order", f"process {number} began with {piece[0]}, which is no part of the run"
            continue
        yield from ((f"lost {event.kind}", f"process {number} left out {event}") for event in whole[reached:start])
        for event, expected in zip_longest(piece, whole[start : start + len(piece)]):
            in_order = expected is not None and event[:2] == expected[:2]
            if in_order:
                reached = max(reached, places[event[:2]] + 1)
            if event != expected:
                yield event.kind if in_order else "order", f"process {number} has {event} instead of {expected}"
    yield from ((f"lost {event.kind}", f"no process came to {event}") for event in whole[reached:])
