"""Prompts in and texts out, as a person or a program reads them."""

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import nullcontext

from src.errors import UserError
from src.generation.row import Completion, Piece


def read_prompts(prompt: str | None, file: str | None) -> Iterator[str]:
    """The prompt, the lines of the file, or the lines of standard input.

    Raises:
        UserError: the file cannot be read.
    """
    if prompt is not None:
        yield prompt
        return
    try:
        with nullcontext(sys.stdin) if file is None else open(file, encoding="utf-8") as stream:
            yield from (line.rstrip("\n") for line in stream)
    except UnicodeDecodeError as error:
        raise UserError(f"file ({file}) is not UTF-8: {error.reason} at byte {error.start}.") from error
    except OSError as error:
        raise UserError(f"file ({file}) cannot be read: {error.strerror}.") from error


def show_pieces(pieces: Iterable[Piece], prompt: str) -> list[Completion]:
    """The one text as it is made, behind its prompt."""
    print(prompt, end="", flush=True)
    done = []
    for piece in pieces:
        print(piece.text, end="", flush=True)
        done += [piece.completion] if piece.completion is not None else []
    print()
    return done


def show_completions(pieces: Iterable[Piece], form: str) -> list[Completion]:
    """Each text when it and all before it are finished; in text format an empty line stands between two."""
    waiting: dict[int, Completion] = {}
    done: list[Completion] = []
    for piece in pieces:
        if piece.completion is not None:
            waiting[piece.number] = piece.completion
        while len(done) in waiting:
            if done and form == "text":
                print()
            done.append(waiting.pop(len(done)))
            print(line(done[-1], form), flush=True)
    return done


def line(completion: Completion, form: str) -> str:
    """One answer."""
    if form == "text":
        return completion.prompt + completion.text
    answer = {"prompt": completion.prompt, "text": completion.text}
    return json.dumps(answer | {"tokens": len(completion.tokens), "end": completion.reason}, ensure_ascii=False)
