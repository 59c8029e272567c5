"""Filters against those of `transformers`, draws against the probabilities they should have."""

import pytest
import torch

from src.errors import UserError
from src.generation.row import seeded
from src.generation.sampling import Sampler, draw

CPU = torch.device("cpu")


def logits(rows=16, vocab_size=60):
    return 3 * torch.randn(rows, vocab_size, generator=torch.Generator().manual_seed(0))


def generators(rows, seed=0):
    return [seeded(seed, number, CPU) for number in range(rows)]


@pytest.mark.parametrize(
    "options",
    [
        {"top_k": 1},
        {"top_k": 7},
        {"top_k": 1000},
        {"top_p": 0.3},
        {"top_p": 0.95},
        {"min_p": 0.05},
        {"temperature": 0.7, "top_k": 20, "top_p": 0.9, "min_p": 0.02},
        {"temperature": 1.9, "top_k": 20, "top_p": 0.9, "min_p": 0.02, "repetition_penalty": 1.3},
        {"repetition_penalty": 0.8},
    ],
    ids=str,
)
def test_what_may_be_drawn_is_what_transformers_leaves(options):
    """The same scores to 1e-5, and minus infinity in the same places, filters in the same order."""
    from transformers.generation import logits_process as theirs

    scores, text = logits(), torch.randint(60, (16, 9), generator=torch.Generator().manual_seed(1))
    expected = scores
    chain = {
        "repetition_penalty": theirs.RepetitionPenaltyLogitsProcessor,
        "temperature": theirs.TemperatureLogitsWarper,
        "top_k": theirs.TopKLogitsWarper,
        "top_p": theirs.TopPLogitsWarper,
        "min_p": theirs.MinPLogitsWarper,
    }
    for name, make in chain.items():
        if name in options:
            expected = make(options[name])(text, expected)
    found = []
    sampler = Sampler(**options)
    seen = torch.zeros(16, 60, dtype=torch.bool).scatter(1, text, True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("src.generation.sampling.draw", lambda scores, generators: found.append(scores))
        sampler(scores, seen=seen, generators=generators(16))
    torch.testing.assert_close(found[0], expected, rtol=1e-5, atol=1e-5)


def test_ties_at_the_border_of_top_k_are_kept():
    scores = torch.tensor([[1.0, 2.0, 2.0, 0.0]])
    assert Sampler(top_k=1).filter(scores).isfinite().tolist() == [[False, True, True, False]]


def test_top_p_keeps_the_fewest_that_reach_it():
    scores = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    kept = [int(Sampler(top_p=p).filter(scores).isfinite().sum()) for p in (0.1, 0.49, 0.51, 0.79, 0.81, 1.0)]
    assert kept == [1, 1, 2, 2, 3, 4]


def test_draws_have_the_probabilities_of_the_softmax():
    """20,000 draws of 5 tokens: chi-square with 4 degrees of freedom stays below 18.5 (p = 0.001)."""
    scores = torch.tensor([0.0, 1.0, -1.0, 2.0, -torch.inf])
    generator = seeded(0, 0, CPU)
    tokens = torch.cat([draw(scores.expand(1, 5), [generator]) for _ in range(20_000)])
    counts = tokens.bincount(minlength=5)
    expected = 20_000 * scores.softmax(0)
    assert counts[4] == 0
    assert float(((counts - expected)[:4] ** 2 / expected[:4]).sum()) < 18.5


def test_a_low_temperature_draws_the_most_probable():
    scores = logits()
    tokens = Sampler(temperature=1e-4)(scores, seen=None, generators=generators(16))
    assert tokens.tolist() == scores.argmax(dim=1).tolist()


def test_temperature_zero_is_greedy_and_draws_nothing():
    before = generators(16)
    tokens = Sampler(temperature=0)(logits(), seen=None, generators=before)
    assert tokens.tolist() == logits().argmax(dim=1).tolist()
    assert all(torch.equal(a.get_state(), b.get_state()) for a, b in zip(before, generators(16), strict=True))


def test_a_row_draws_the_same_whatever_stands_beside_it():
    scores = logits()
    together = Sampler()(scores, seen=None, generators=generators(16))
    alone = [Sampler()(scores[n : n + 1], seen=None, generators=generators(16)[n : n + 1]) for n in range(16)]
    assert together.tolist() == torch.cat(alone).tolist()


def test_seeds_and_numbers_give_different_streams():
    """2^32 apart too: a CPU generator reads 32 bits of its seed."""
    first = {float(torch.rand((), generator=seeded(s, n, CPU))) for s in (0, 1, 2**32) for n in range(20)}
    assert len(first) == 60


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperature": -1}, r"temperature \(-1\)"),
        ({"temperature": float("nan")}, r"temperature \(nan\)"),
        ({"top_k": 0}, r"top_k \(0\)"),
        ({"top_p": 1.5}, r"top_p \(1.5\)"),
        ({"min_p": 0}, r"min_p \(0\)"),
        ({"repetition_penalty": 0}, r"repetition_penalty \(0\)"),
        ({"temperature": 0, "top_p": 0.9}, r"top_p \(0.9\) has no effect with temperature=0"),
    ],
)
def test_values_out_of_range_are_refused_by_name(options, words):
    with pytest.raises(UserError, match=words):
        Sampler(**options)
