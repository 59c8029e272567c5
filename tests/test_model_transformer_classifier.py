"""The classifier is the language model's trunk with a pooled head, and padding is not text."""

import pytest
import torch

from src.errors import UserError
from src.model.transfer import copy_shared
from src.model.transformer import Transformer
from src.model.transformer_classifier import TransformerClassifier
from tests.test_model_transformer import SMALL, wide_awake

LENGTHS = torch.tensor([7, 1, 13, 2])
POOLINGS = ["masked_mean", "max", "mean_max", "last"]


def texts(padding):
    ids = torch.randint(1, 61, (4, 13), generator=torch.Generator().manual_seed(3))
    return torch.where(torch.arange(13) < LENGTHS[:, None], ids, padding)


def build(**options):
    torch.manual_seed(5)
    return wide_awake(TransformerClassifier(**SMALL, **options))


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_padding_never_changes_a_logit(pooling, causal):
    """Neither what stands there nor how much: each text alone and unpadded gives its row of the batch."""
    model = build(pooling=pooling, causal=causal)
    logits = model(texts(padding=0), LENGTHS)
    assert torch.equal(logits, model(texts(padding=44), LENGTHS))
    for row, length in enumerate(LENGTHS.tolist()):
        alone = model(texts(padding=0)[row : row + 1, :length], LENGTHS[row : row + 1])
        torch.testing.assert_close(alone[0], logits[row], atol=1e-5, rtol=0)


def test_the_whole_text_is_seen_without_the_causal_mask():
    """The first step's state depends on the last word of the text exactly when causal is false."""
    ids = texts(padding=0)
    changed = ids.clone()
    changed[2, 12] = ids[2, 12] % 60 + 1
    for causal, moves in ((True, False), (False, True)):
        model = build(causal=causal)
        first = [model.hidden(each, causal=causal)[2, 0] for each in (ids, changed)]
        assert torch.equal(*first) is not moves


def test_all_but_the_head_starts_from_a_language_model():
    language_model = wide_awake(Transformer(**SMALL, tie_embeddings=False))
    model = TransformerClassifier(**SMALL)
    found = copy_shared(model, language_model.state_dict())
    assert found.fresh == ["classifier.weight", "classifier.bias"]
    assert found.unused == ["head.weight"]
    assert found.unequal == []
    ids = texts(padding=0)
    assert torch.equal(model.hidden(ids), language_model.hidden(ids))


def test_mean_and_max_together_need_a_head_twice_as_wide():
    assert build(pooling="mean_max").classifier.in_features == 2 * build(pooling="max").classifier.in_features == 64


def test_logits_are_float32_under_autocast():
    model = build()
    exact = model(texts(padding=0), LENGTHS)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(texts(padding=0), LENGTHS)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, exact, atol=0.1, rtol=0)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (dict(num_classes=1), r"num_classes \(1\) must be 2 or more"),
        (dict(pooling="mean"), r"pooling \(mean\) must be one of masked_mean"),
        (dict(head_dropout=1.0), r"head_dropout \(1.0\) must be at least 0"),
    ],
)
def test_options_out_of_range_are_refused_by_name(options, sentence):
    with pytest.raises(UserError, match=sentence):
        TransformerClassifier(**SMALL, **options)
