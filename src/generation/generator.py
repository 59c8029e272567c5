"""Continuous batching: a finished text leaves at once, and the next prompt takes its place (Yu et al. 2022, Orca).

Each turn every active row reads what it has not read yet: a prompt, a chunk of one, or the token just sampled. Rows
with equally many tokens to read share a forward, whatever they have stored; so one rule covers prefill and decoding.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, count

import torch
from torch import Tensor

from src.cache.protocol import Cache, Rows
from src.errors import UserError
from src.generation.codec import Codec
from src.generation.row import Completion, Piece, Row, seeded
from src.generation.sampling import Sampler
from src.model.transformer import Transformer

# step(ids (B, T), rows) -> logits (B, V) of the last position.
Step = Callable[[Tensor, Rows | None], Tensor]


class Generator:
    """Text for any number of prompts, at most `batch_size` at a time.

    network: in evaluation mode. cache: None reads the whole text again for each token, the reference that every cache
    is tested against. max_length: tokens of a text, prompt included, that network and cache can hold. max_new_tokens:
    of each text. prefill_chunk: tokens of a prompt read per turn, None for all, so that a long prompt does not keep the
    others waiting. step: how a forward is run, None for the plain call.
    """

    def __init__(
        self,
        network: Transformer,
        *,
        codec: Codec,
        cache: Cache | None,
        max_length: int,
        sampler: Sampler,
        max_new_tokens: int,
        stop: Iterable[str] = (),
        batch_size: int = 8,
        prefill_chunk: int | None = None,
        seed: int = 0,
        step: Step | None = None,
    ) -> None:
        self.network = network
        self.codec = codec
        self.cache = cache
        self.max_length = max_length
        self.sampler = sampler
        self.max_new_tokens = max_new_tokens
        self.stop = tuple(stop)
        self.batch_size = batch_size
        self.prefill_chunk = None if cache is None else prefill_chunk
        self.seed = seed
        self.step = step or self.plain_step
        self.device = network.embedding.weight.device
        self.selected: tuple[list[int], Rows] | None = None

    def complete(self, prompts: Iterable[str]) -> list[Completion]:
        """All texts, in the order of the prompts."""
        done = [piece.completion for piece in self.stream(prompts) if piece.completion is not None]
        return sorted(done, key=lambda completion: completion.number)

    def stream(self, prompts: Iterable[str]) -> Iterator[Piece]:
        """Pieces of all texts as they are made; prompts are read when there is a place for them.

        Raises:
            UserError: a prompt is empty or fills the context, or one alone does not fit into the cache.
        """
        waiting: Iterator[Row] = map(self.open, count(), prompts)
        active: list[Row] = []
        try:
            while True:
                waiting = self.admit(waiting, active)
                if not active:
                    return
                for group in groups_of(active, self.prefill_chunk):
                    yield from self.advance(group)
                self.dismiss([row for row in active if row.is_done])
                active = [row for row in active if not row.is_done]
        finally:
            self.dismiss(active)

    def open(self, number: int, prompt: str) -> Row:
        """The row of a prompt, with nothing read yet."""
        ids = self.codec.encode(prompt)
        if not ids:
            raise UserError(f"prompt {number + 1} is empty; give it at least one token.")
        if len(ids) >= self.max_length:
            raise UserError(
                f"prompt {number + 1} ({len(ids)} tokens) must be shorter than the context of {self.max_length} "
                "tokens; shorten it."
            )
        end = len(ids) + self.max_new_tokens
        return Row(
            number,
            prompt,
            ids,
            limit=min(end, self.max_length),
            reason_at_limit="length" if end <= self.max_length else "context",
            codec=self.codec,
            stop=self.stop,
            generator=seeded(self.seed, number, self.device),
        )

    def admit(self, waiting: Iterator[Row], active: list[Row]) -> Iterator[Row]:
        """Fill the free places of `active`; returns what still waits."""
        while len(active) < self.batch_size:
            row = next(waiting, None)
            if row is None:
                break
            if self.cache is not None:
                # Room for the whole text is promised at the start, so that none has to be thrown out half-way.
                if active and not self.cache.fits(row.limit):
                    return chain([row], waiting)
                row.sequence = self.cache.add(row.limit)
                self.selected = None
            active.append(row)
        # Ascending numbers without a gap let a contiguous cache hand out a view instead of a copy.
        active.sort(key=lambda row: row.sequence)
        return waiting

    def dismiss(self, rows: list[Row]) -> None:
        """Give their memory back."""
        if self.cache is not None:
            for row in rows:
                self.cache.release(row.sequence)

    @torch.inference_mode()
    def advance(self, rows: list[Row]) -> list[Piece]:
        """One forward of rows that read equally many tokens, and a new token for those that have read all."""
        fresh = [row.next_ids(self.prefill_chunk) for row in rows]
        logits = self.step(torch.tensor(fresh, device=self.device), self.select(rows))
        if self.cache is not None:
            for row in rows:
                row.stored += len(fresh[0])
            ready = [index for index, row in enumerate(rows) if row.stored == len(row.ids)]
            if len(ready) < len(rows):
                rows, logits = [rows[index] for index in ready], logits[ready]
        if not rows:
            return []
        seen = self.mark_seen(rows, logits.shape[-1]) if self.sampler.penalises else None
        tokens = self.sampler(logits, seen=seen, generators=[row.generator for row in rows])
        # The one place where the host waits for the device: it has to know the tokens to end a text.
        return [row.take(token) for row, token in zip(rows, tokens.tolist(), strict=True)]

    def plain_step(self, ids: Tensor, rows: Rows | None) -> Tensor:
        return self.network(ids, cache=rows, last_only=True)[:, -1]

    def select(self, rows: list[Row]) -> Rows | None:
        """The cache's view of these rows; the same object as long as the same rows go on."""
        if self.cache is None:
            return None
        sequences = [row.sequence for row in rows]
        if self.selected is None or self.selected[0] != sequences:
            self.selected = (sequences, self.cache.select(sequences))
        return self.selected[1]

    def mark_seen(self, rows: list[Row], vocab_size: int) -> Tensor:
        """(B, V): which tokens stand in each text so far."""
        for row in rows:
            if row.seen is None:
                row.seen = torch.zeros(vocab_size, dtype=torch.bool, device=self.device)
                row.seen[torch.tensor(row.ids, device=self.device)] = True
            else:
                row.seen[row.ids[-1]] = True
        return torch.stack([row.seen for row in rows if row.seen is not None])


def groups_of(rows: list[Row], chunk: int | None) -> list[list[Row]]:
    """Rows that read equally many tokens next, in their order; those with the fewest, which are decoding, first."""
    groups: dict[int, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.num_next(chunk), []).append(row)
    return [groups[size] for size in sorted(groups)]
