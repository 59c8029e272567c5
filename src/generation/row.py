"""One text while it is being made."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from src.generation.codec import Codec
from src.generation.stopping import StopStrings
from src.generation.stream import TextStream

# end: the model ended the text; stop: a stop string; length: max_new_tokens; context: no room for more in the model.
Reason = Literal["end", "stop", "length", "context"]


@dataclass(frozen=True, kw_only=True)
class Completion:
    """A finished text: `text` goes on where `prompt` ends, `tokens` are its tokens without the one that ended it.

    length: all its tokens, those of the prompt included.
    """

    number: int
    prompt: str
    text: str
    tokens: list[int]
    length: int
    reason: Reason


class Piece(NamedTuple):
    """New text of prompt `number`, and the whole if it is the last piece."""

    number: int
    text: str
    completion: Completion | None


class Row:
    """A prompt, the tokens so far, and what decides how it goes on.

    limit: tokens, prompt included, at which it ends for `reason_at_limit`. stored: its tokens that a cache holds.
    """

    def __init__(
        self,
        number: int,
        prompt: str,
        ids: list[int],
        *,
        limit: int,
        reason_at_limit: Reason,
        codec: Codec,
        stop: Sequence[str],
        generator: torch.Generator,
    ) -> None:
        self.number, self.prompt, self.ids = number, prompt, ids
        self.num_prompt_tokens = len(ids)
        self.limit, self.reason_at_limit = limit, reason_at_limit
        self.ends = codec.ends
        self.generator = generator
        self.stream = TextStream(codec.decode)
        self.stops = StopStrings(stop)
        self.text = ""
        self.stored = 0
        self.sequence = 0
        self.seen: Tensor | None = None
        self.is_done = False

    def next_ids(self, chunk: int | None) -> list[int]:
        """The tokens that the network has to read next, at most `chunk`."""
        return self.ids[self.stored : self.stored + self.num_next(chunk)]

    def num_next(self, chunk: int | None) -> int:
        """How many tokens that is."""
        waiting = len(self.ids) - self.stored
        return waiting if chunk is None else min(waiting, chunk)

    def take(self, token: int) -> Piece:
        """Append a sampled token; the piece holds the completion if that ends the text."""
        reason: Reason | None = None
        text = ""
        if token in self.ends:
            reason = "end"
        else:
            self.ids.append(token)
            text = self.stops.push(self.stream.push(token))
            if len(self.ids) >= self.limit:
                reason = self.reason_at_limit
        if reason is not None and self.stops.found is None:
            text += self.stops.push(self.stream.finish())
            text += self.stops.finish()
        if self.stops.found is not None:
            reason = "stop"
        self.text += text
        return Piece(self.number, text, None if reason is None else self.finish(reason))

    def finish(self, reason: Reason) -> Completion:
        self.is_done = True
        tokens = self.ids[self.num_prompt_tokens :]
        return Completion(
            number=self.number, prompt=self.prompt, text=self.text, tokens=tokens, length=len(self.ids), reason=reason
        )


def seeded(seed: int, number: int, device: torch.device) -> torch.Generator:
    """The random numbers of prompt `number`: its own, so that its text does not depend on its neighbours.

    Hashed, because a CPU generator reads 32 bits of its seed, and neighbouring seeds start out alike.
    """
    digest = hashlib.blake2b(f"{seed} {number}".encode(), digest_size=8).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest, "little", signed=True))
