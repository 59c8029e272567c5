"""Text to words; imports nothing heavy, because every process that tokenises starts with it."""

import re

# Part of every cache key and fingerprint: raise it with any change that alters the words of any text.
TOKENIZER_VERSION = "words-1"

# Of a longer text only this many characters from the start and from the end are tokenised, so that one broken row
# of 50 MB costs no more memory than a normal one. The longest IMDb review has 13,704 characters.
EDGE_CHARACTERS = 100_000

_WORD = re.compile(r"\w+(?:['\u2019]\w+)*|[!?]")


def split_words(text: str) -> list[str]:
    """Split into lower-case words; `!` and `?` count as words, other punctuation and `<br />` separate.

    Apostrophes inside a word stay ("don't"), because negation is most of what a review says.
    """
    return _WORD.findall(text.replace("<br />", " ").lower())


def is_long(text: str) -> bool:
    """Say whether `shorten` would cut this text."""
    return len(text) > 2 * EDGE_CHARACTERS


def shorten(text: str) -> str:
    """Keep the first and last EDGE_CHARACTERS of a longer text, as two separate pieces."""
    return f"{text[:EDGE_CHARACTERS]} {text[-EDGE_CHARACTERS:]}" if is_long(text) else text
