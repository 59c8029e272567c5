"""Prompts in and texts out, as a person or a program reads them."""

import json
from collections.abc import Iterable, Iterator

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
    name = "standard input" if file is None else f"file ({file})"
    try:
        # utf-8-sig: editors put a byte order mark in front of the first text.
        with open(0 if file is None else file, encoding="utf-8-sig", closefd=file is not None) as stream:
            yield from (line.rstrip("\n") for line in stream)
    except UnicodeDecodeError as error:
        raise UserError(f"{name} is not UTF-8: {error.reason} at byte {error.start}.") from error
    except OSError as error:
        raise UserError(f"{name} cannot be read: {error.strerror}.") from error


def show_pieces(pieces: Iterable[Piece], prompt: str) -> list[Completion]:
    """The one text as it is made, behind its prompt; what is refused is refused before anything is shown."""
    done = []
    for piece in pieces:
        print(prompt + piece.text, end="", flush=True)
        prompt = ""
        done += [piece.completion] if piece.completion is not None else []
    print(prompt)
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
