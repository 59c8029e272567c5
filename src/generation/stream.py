"""Tokens to text as they come, never half a character: a byte-level token may hold a part of one."""

from collections.abc import Callable, Sequence

BROKEN = "\ufffd"  # what decoders write for bytes that are no character (yet)


class TextStream:
    """`push(token)` returns the text that is certain now; all pieces together are `decode` of all tokens.

    decode: ids -> str. Only the tokens since the last certain text, and those just before it, are decoded again,
    because some tokenizers write a token differently at the very beginning.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self.decode = decode
        self.tokens: list[int] = []
        self.certain = 0  # leading tokens of `tokens` whose text is out
        self.text = ""  # their text

    def push(self, token: int) -> str:
        self.tokens.append(token)
        text = self.decode(self.tokens)
        if text.endswith(BROKEN):
            return ""
        piece = text[len(self.text) :]
        self.tokens = self.tokens[self.certain :]
        self.certain = len(self.tokens)
        self.text = self.decode(self.tokens)
        return piece

    def finish(self) -> str:
        """What is left, without a character that never became whole."""
        return self.decode(self.tokens)[len(self.text) :].rstrip(BROKEN)
