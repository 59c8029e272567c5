"""Texts to word numbers over the corpus's own words, on all cores.

The worker processes are plain children that speak JSON lines over pipes (`python -m src.data.tokens`): unlike
multiprocessing they need no guard in the caller's script, and they end with their parent even if it is killed.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import BinaryIO, NamedTuple

import numpy as np

from src.data.words import split_words

# About 0.15 s of work, so that the progress moves and the last chunks finish together.
CHUNK_CHARACTERS = 2_000_000
# Below this, starting workers (0.15 s each) costs more than they save.
PARALLEL_CHARACTERS = 4 * CHUNK_CHARACTERS
MAX_PROCESSES = 16


class Tokens(NamedTuple):
    """Reviews behind each other as numbers of `words`."""

    words: list[str]  # in order of first appearance
    numbers: np.ndarray  # (all words,) int32
    lengths: np.ndarray  # (N,) int64


def tokenise(texts: Sequence[str]) -> Tokens:
    """Number the words of the texts in order of first appearance."""
    known: dict[str, int] = {}
    numbers: list[int] = []
    lengths: list[int] = []
    for text in texts:
        words = split_words(text)
        lengths.append(len(words))
        numbers += [known.setdefault(word, len(known)) for word in words]
    return Tokens(list(known), np.array(numbers, dtype=np.int32), np.array(lengths, dtype=np.int64))


def merge(parts: Sequence[Tokens]) -> Tokens:
    """Join consecutive parts; the result is that of `tokenise` on all texts at once."""
    known: dict[str, int] = {}
    numbers = [np.empty(0, dtype=np.int32)]
    for part in parts:
        common = np.array([known.setdefault(word, len(known)) for word in part.words], dtype=np.int32)
        numbers.append(common[part.numbers] if len(common) else part.numbers)
    lengths = np.concatenate([np.empty(0, dtype=np.int64), *(part.lengths for part in parts)])
    return Tokens(list(known), np.concatenate(numbers), lengths)


def tokenise_in_parallel(
    texts: Sequence[str], *, processes: int | None = None, advance: Callable[[int], None] = lambda rows: None
) -> Tokens:
    """Tokenise in chunks on `processes` cores (None: all, or this process alone for a small corpus).

    `advance` is called with the number of texts each time some are done.
    """
    chunks = chunks_of(texts)
    if processes is None:
        small = sum(map(len, texts)) < PARALLEL_CHARACTERS
        processes = 0 if small else min(_num_cores(), MAX_PROCESSES)

    def here(chunk: list[str]) -> Tokens:
        tokens = tokenise(chunk)
        advance(len(chunk))
        return tokens

    if processes <= 1:
        return merge([here(chunk) for chunk in chunks])

    workers: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()

    def elsewhere(chunk: list[str]) -> Tokens:
        worker = workers.get()
        try:
            tokens = _ask(worker, chunk)
        finally:
            workers.put(worker)
        advance(len(chunk))
        return tokens

    with ExitStack() as stack:
        for _ in range(min(processes, len(chunks))):
            workers.put(stack.enter_context(_start_worker()))
        with ThreadPoolExecutor(processes) as threads:
            return merge(list(threads.map(elsewhere, chunks)))


def _num_cores() -> int:
    # On a shared machine the cores given to this process, not all it has; only Linux can tell.
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def chunks_of(texts: Sequence[str]) -> list[list[str]]:
    """Cut a list of texts into lists of about CHUNK_CHARACTERS."""
    chunks: list[list[str]] = []
    room = 0
    for text in texts:
        if room <= 0:
            chunks.append([])
            room = CHUNK_CHARACTERS
        chunks[-1].append(text)
        room -= len(text) + 1
    return chunks


def _start_worker() -> "subprocess.Popen[bytes]":
    root = str(Path(__file__).resolve().parents[2])
    # Its own session, so that Ctrl-C reaches this process only; the workers see their input end.
    return subprocess.Popen(
        [sys.executable, "-m", "src.data.tokens"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=root,
        env={**os.environ, "PYTHONPATH": root},
        start_new_session=True,
    )


def _ask(worker: "subprocess.Popen[bytes]", texts: list[str]) -> Tokens:
    assert worker.stdin is not None
    assert worker.stdout is not None
    try:
        worker.stdin.write(json.dumps(texts).encode() + b"\n")
        worker.stdin.flush()
        head = json.loads(worker.stdout.readline())
        numbers = np.frombuffer(worker.stdout.read(4 * head["count"]), dtype=np.int32)
    except (BrokenPipeError, ValueError) as error:
        with suppress(BrokenPipeError):
            worker.stdin.close()
        raise RuntimeError(f"a tokenising process ended with exit code {worker.wait()}") from error
    return Tokens(head["words"], numbers, np.array(head["lengths"], dtype=np.int64))


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer each line (a JSON list of texts) with a JSON line and the raw int32 numbers, until the input ends."""
    for line in requests:
        tokens = tokenise(json.loads(line))
        head = {"words": tokens.words, "lengths": tokens.lengths.tolist(), "count": len(tokens.numbers)}
        answers.write(json.dumps(head).encode() + b"\n" + tokens.numbers.tobytes())
        answers.flush()


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
