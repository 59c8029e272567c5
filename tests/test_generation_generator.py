"""Greedy text is the same with any cache, page size, batch and chunk, token for token, as without a cache."""

from functools import partial

import pytest
import torch

from src.attention import naive
from src.cache.paged import PagedCache
from src.errors import UserError
from src.generation.codec import Codec
from src.generation.generator import Generator
from src.generation.memory import make_cache
from src.generation.row import Row
from src.generation.sampling import Sampler
from src.model.transformer import Transformer
from tests.test_cache_rows import CACHES, CLASSES

END = 0
PROMPTS = ["a", "the cat", "x" * 23, "", "on the mat", "caf\u00e9", "the cat", "zz top"]


def decode(tokens):
    return bytes(token - 1 for token in tokens if token != END).decode(errors="replace")


# A byte is a token; END opens every prompt. An untrained model never chooses END, so some other tokens end texts too.
ENDS = frozenset(range(0, 257, 32))
CODEC = Codec(lambda text: [END, *(byte + 1 for byte in text.encode())], decode, ENDS)


@pytest.fixture(scope="module")
def network():
    """Weights so large that a text does not repeat itself."""
    torch.manual_seed(2)
    sizes = {"vocab_size": 257, "width": 32, "num_layers": 2, "num_heads": 4, "num_kv_heads": 2}
    network = Transformer(**sizes, feed_forward_width=48, max_length=64, attention=naive.attend).eval()
    with torch.no_grad():
        for parameter in network.blocks.parameters():
            parameter.mul_(16 if parameter.dim() == 2 else 1)
    return network


def make(network, cache, *, slots=3, sampler=None, max_new_tokens=20, max_length=64, **options):
    if isinstance(cache, str):
        settings = {key: value for key, value in CACHES[cache].items() if not key.startswith("_")}
        kind = partial(CLASSES[CACHES[cache]["_target_"].split(".")[-1]], **settings)
        cache = make_cache(network, kind, slots=slots, max_length=max_length)
    return Generator(
        network,
        codec=CODEC,
        cache=cache,
        max_length=max_length,
        sampler=sampler or Sampler(temperature=0),
        max_new_tokens=max_new_tokens,
        batch_size=slots,
        **options,
    )


@torch.inference_mode()
def by_hand(network, prompt, *, max_new_tokens=20):
    """The slowest truth: the whole text through the network for each token."""
    ids = CODEC.encode(prompt)
    start = len(ids)
    while len(ids) < start + max_new_tokens:
        token = int(network(torch.tensor([ids]))[0, -1].argmax())
        if token in ENDS:
            break
        ids.append(token)
    return ids[start:]


@pytest.fixture(scope="module")
def truth(network):
    return [by_hand(network, prompt) for prompt in PROMPTS]


def test_the_texts_are_worth_comparing(truth):
    """They differ from each other, repeat little, and end at different lengths."""
    assert len({tuple(tokens) for tokens in truth}) == len(set(PROMPTS))
    assert len({len(tokens) for tokens in truth}) > 1
    assert all(len(set(tokens)) > len(tokens) / 2 for tokens in truth)


@pytest.mark.parametrize("slots", [1, 3, 8])
@pytest.mark.parametrize("cache", [None, *CACHES])
def test_greedy_text_is_that_of_no_cache(network, truth, cache, slots):
    """More prompts than rows, so rows leave and others come in the middle."""
    found = make(network, cache, slots=slots).complete(PROMPTS)
    assert [completion.tokens for completion in found] == truth
    assert [completion.prompt for completion in found] == PROMPTS


@pytest.mark.parametrize("chunk", [1, 5, 100])
@pytest.mark.parametrize("cache", ["contiguous", "paged"])
def test_reading_prompts_in_chunks_changes_nothing(network, truth, cache, chunk):
    found = make(network, cache, prefill_chunk=chunk).complete(PROMPTS)
    assert [completion.tokens for completion in found] == truth


@pytest.mark.parametrize("cache", [None, "contiguous", "paged"])
@pytest.mark.parametrize("slots", [1, 4])
def test_sampled_text_does_not_depend_on_its_neighbours(network, cache, slots):
    sampler = Sampler(temperature=1.2, top_k=50, top_p=0.95, repetition_penalty=1.2)
    alone = make(network, None, slots=1, sampler=sampler, seed=7).complete(PROMPTS)
    found = make(network, cache, slots=slots, sampler=sampler, seed=7).complete(PROMPTS)
    assert found == alone
    assert PROMPTS[1] == PROMPTS[6]
    assert found[1].tokens != found[6].tokens
    other = make(network, cache, slots=slots, sampler=sampler, seed=8).complete(PROMPTS)
    assert [completion.tokens for completion in other] != [completion.tokens for completion in alone]


@torch.inference_mode()
def test_the_repetition_penalty_is_for_prompt_and_text_alike(network):
    """By hand over the whole text so far, greedy, so that nothing but the penalty decides."""
    ids = CODEC.encode("the cat")
    for _ in range(20):
        logits = network(torch.tensor([ids]))[0, -1]
        for token in set(ids):
            logits[token] = logits[token] / 2.5 if logits[token] > 0 else logits[token] * 2.5
        ids.append(int(logits.argmax()))
    generator = make(network, "paged", sampler=Sampler(temperature=0, repetition_penalty=2.5))
    generator.codec = CODEC._replace(ends=frozenset())
    assert generator.complete(["the cat"])[0].tokens == ids[8:]
    assert ids[8:] != by_hand(network, "the cat")


def test_the_last_token_gives_all_it_has(network):
    """It ends in half a character, and what came before that might have begun a stop string."""
    held = {1: b"x", 2: b"y##\xe6"}
    codec = Codec(
        lambda text: [1], lambda tokens: b"".join(held[t] for t in tokens).decode(errors="replace"), frozenset()
    )
    options = {"codec": codec, "stop": ["###"], "generator": torch.Generator(), "reason_at_limit": "length"}
    row = Row(0, "x", [1], limit=3, **options)
    first, last = row.take(1), row.take(2)
    assert (first.text, last.text) == ("x", "y##")
    assert (last.completion.text, last.completion.reason) == ("xy##", "length")


def test_a_finished_row_leaves_at_once_and_the_next_prompt_comes_in(network):
    """Never more than three rows, prompts read only when there is a place, and no turn with an empty place."""
    sizes, read = [], []

    def prompts():
        for prompt in PROMPTS:
            read.append(prompt)
            yield prompt

    generator = make(network, "paged", slots=3)
    advance = generator.advance
    active = []
    generator.advance = lambda rows: active.append(len(rows)) or advance(rows)
    done = 0
    for piece in generator.stream(prompts()):
        done += piece.completion is not None
        sizes.append(len(read) - done)
    assert max(active) == 3
    assert max(sizes) <= 3
    assert generator.cache.ledger.stored == {}
    assert generator.cache.pages.num_free == generator.cache.pages.num_pages


def test_an_abandoned_stream_gives_its_memory_back(network):
    generator = make(network, "paged")
    stream = generator.stream(PROMPTS)
    next(stream)
    stream.close()
    assert generator.cache.pages.num_free == generator.cache.pages.num_pages


def test_a_text_waits_until_there_are_pages_for_all_of_it(network, truth):
    """Pages for one long text and a short one: nothing runs out half-way, and the texts are the same."""
    cache = make_cache(network, partial(PagedCache, page_size=4, num_pages=12), slots=8, max_length=64)
    found = make(network, cache, slots=8).complete(PROMPTS)
    assert [completion.tokens for completion in found] == truth
    assert cache.pages.num_pages == 12


def test_a_text_that_can_never_fit_is_refused(network):
    cache = make_cache(network, partial(PagedCache, page_size=4, num_pages=2), slots=8, max_length=64)
    with pytest.raises(UserError, match=r"cache.num_pages \(2\)"):
        make(network, cache).complete(["too long for eight steps"])


@pytest.mark.parametrize("cache", [None, "contiguous", "paged"])
def test_a_text_ends_with_the_context_and_says_so(network, cache):
    prompt = "x" * 23
    done = make(network, cache, max_length=30).complete([prompt])[0]
    assert (done.reason, len(done.tokens)) == ("context", 30 - 24)
    assert done.tokens == by_hand(network, prompt, max_new_tokens=6)


def test_a_prompt_that_fills_the_context_is_refused_with_its_number(network):
    with pytest.raises(UserError, match=r"prompt 2 \(65 tokens\) must be shorter than the context of 64"):
        make(network, "paged").complete(["short", "x" * 64])


def test_why_a_text_ended(network, truth):
    reasons = [completion.reason for completion in make(network, "paged").complete(PROMPTS)]
    assert reasons == ["length" if len(tokens) == 20 else "end" for tokens in truth]


def test_a_stop_string_ends_the_text_before_itself(network, truth):
    """Any two bytes of the greedy text that are whole characters serve as one."""
    prompt = next(p for p, t in zip(PROMPTS, truth, strict=True) if len(decode(t).replace("\ufffd", "")) > 3)
    text = make(network, "paged").complete([prompt])[0].text
    stop = next(text[n : n + 2] for n in range(2, len(text)) if "\ufffd" not in text[n : n + 2])
    generator = make(network, "paged", stop=[stop, "never to be found"])
    pieces = list(generator.stream([prompt]))
    done = pieces[-1].completion
    assert done.reason == "stop"
    assert done.text == "".join(piece.text for piece in pieces) == text[: text.index(stop)]


def test_pieces_join_to_the_text(network):
    texts = {}
    for piece in make(network, "contiguous").stream(PROMPTS):
        texts[piece.number] = texts.get(piece.number, "") + piece.text
        if piece.completion is not None:
            assert texts[piece.number] == piece.completion.text
            assert piece.completion.text == decode(piece.completion.tokens).rstrip("\ufffd")
    assert len(texts) == len(PROMPTS)
