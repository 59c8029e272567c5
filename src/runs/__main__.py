"""The runs there are: `python -m src.runs ls|show|diff|best|clean|tail|sync|dashboard`, from their files alone."""

import importlib
import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches

from src.errors import UserError
from src.runs.help import GENERAL, HELP

# Rooms are opened when their command is typed: the list of runs needs neither NumPy nor W&B.
COMMANDS = {
    "ls": "src.runs.listing",
    "show": "src.runs.showing",
    "diff": "src.runs.difference",
    "best": "src.runs.choosing",
    "clean": "src.runs.cleaning",
    "tail": "src.runs.following",
    "sync": "src.runs.sending",
    "dashboard": "src.runs.sending",
}
INTERRUPTED = 130


def main(arguments: Sequence[str]) -> int:
    """Run one command; 0 when done, 2 for what was typed wrong, 130 for Ctrl-C."""
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a folder's name may be no UTF-8
    try:
        run(arguments)
        sys.stdout.flush()
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `| head` has read enough; Python would complain about the rest at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        print(f"{error.filename} cannot be read or written ({error.strerror}).", file=sys.stderr)
        return UserError.exit_code
    return 0


def run(arguments: Sequence[str]) -> None:
    """Raises UserError for what no command takes."""
    if not arguments or arguments[0] in ("--help", "-h", "help"):
        print(GENERAL)
        return
    name, typed = arguments[0], arguments[1:]
    if name not in COMMANDS:
        near = get_close_matches(name, COMMANDS, n=1)
        guess = f"; did you mean {near[0]}?" if near else "."
        raise UserError(f"{name} is no command{guess} Commands: {', '.join(COMMANDS)}.")
    if {"--help", "-h"} & set(typed):
        print(HELP[name])
        return
    getattr(importlib.import_module(COMMANDS[name]), name)(typed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
