"""The legal name that a mistyped one most likely meant."""

from collections.abc import Iterable
from difflib import get_close_matches

# Difflib's ratio below which a guess misleads more often than it helps.
LIKENESS = 0.6
# A list longer than this hides the guess in front of it.
LISTED = 16


def nearest(name: str, legal: Iterable[str]) -> str | None:
    """The legal name closest in spelling, or sharing its initials (learning_rate and lr); None if nothing is near."""
    by_spelling = {_plain(choice): choice for choice in legal}
    close = get_close_matches(_plain(name), by_spelling, n=1, cutoff=LIKENESS)
    if close:
        return by_spelling[close[0]]
    for spelling, choice in by_spelling.items():
        if len(spelling) > 1 and len(name) > 1 and (_initials(name) == spelling or _initials(choice) == _plain(name)):
            return choice
    return None


def suggestion(name: str, legal: Iterable[str], *, prefix: str = "") -> str:
    """`; did you mean optimizer.lr? Legal: lr, betas.`: the end of a sentence that refuses `name`."""
    choices = [str(choice) for choice in legal]
    guess = nearest(name, choices)
    listed = f"Legal: {', '.join(choices)}." if choices else "Nothing is legal there."
    if guess is None:
        return f". {listed}"
    question = f"; did you mean {prefix}{guess}?"
    return f"{question} {listed}" if len(choices) <= LISTED else question


def _plain(name: str) -> str:
    return name.lower().replace("-", "_")


def _initials(name: str) -> str:
    return "".join(word[0] for word in _plain(name).split("_") if word)
