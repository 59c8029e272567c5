"""The transformer computes what its formulas say, sees what it may see, and starts where it should."""

import math

import pytest
import torch
from torch.nn import functional

from src.attention import naive, sdpa
from src.errors import UserError
from src.model.initialise import initialise
from src.model.transformer import Transformer

SMALL = dict(vocab_size=61, width=32, num_layers=2, num_heads=4, feed_forward_width=48, max_length=64)
SCALING = dict(factor=8.0, low_frequency_factor=1.0, high_frequency_factor=4.0, original_max_length=16)


def build(**options):
    torch.manual_seed(5)
    return Transformer(**{**SMALL, **options})


def wide_awake(model):
    """Weights and gains large and uneven enough for every part to matter in the logits."""
    generator = torch.Generator().manual_seed(8)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter.copy_(1 + 0.3 * noise if parameter.ndim == 1 else 0.2 * noise)
    return model


def tokens(rows=3, steps=17):
    return torch.randint(0, 61, (rows, steps), generator=torch.Generator().manual_seed(2))


class ListCache:
    """The simplest cache there can be: concatenates, all rows equally long."""

    def __init__(self, rows, num_layers):
        self.lengths, self.length = torch.zeros(rows, dtype=torch.int64), 0
        self.stored = [None] * num_layers

    def extend(self, layer, k, v):
        before = self.stored[layer]
        after = (k, v) if before is None else tuple(torch.cat(pair, dim=2) for pair in zip(before, (k, v), strict=True))
        self.stored[layer] = after
        return after

    def key_lengths(self, steps):
        return None

    def advance(self, steps):
        self.lengths, self.length = self.lengths + steps, self.length + steps


def by_hand(model, ids, *, window=None, documents=None, scaling=None):
    """Logits in float64, one row, one head and one query at a time, from the formulas of the papers."""
    weights = {name: value.double() for name, value in model.state_dict().items()}
    heads, kv_heads, width = model.num_heads, model.num_kv_heads, model.head_width

    def norm(x, gain):
        return x / (x.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * gain

    def frequency(pair):
        plain = 10000.0 ** (-2 * pair / width)
        if scaling is None:
            return plain
        wave = 2 * math.pi / plain
        low, high = (scaling["original_max_length"] / scaling[f"{end}_frequency_factor"] for end in ("low", "high"))
        if wave < high:
            return plain
        if wave > low:
            return plain / scaling["factor"]
        rounds = scaling["original_max_length"] / wave
        part = (rounds - scaling["low_frequency_factor"]) / (
            scaling["high_frequency_factor"] - scaling["low_frequency_factor"]
        )
        return (1 - part) * plain / scaling["factor"] + part * plain

    def turned(vector, position):
        out = vector.clone()
        for pair in range(width // 2):
            angle = position * frequency(pair)
            a, b = vector[pair], vector[pair + width // 2]
            out[pair] = a * math.cos(angle) - b * math.sin(angle)
            out[pair + width // 2] = b * math.cos(angle) + a * math.sin(angle)
        return out

    def attention(x, prefix, numbers):
        q, k, v = (x @ weights[f"{prefix}.qkv.weight"].T).split([heads * width, kv_heads * width, kv_heads * width], -1)
        out = torch.zeros(len(x), heads * width, dtype=torch.float64)
        for head in range(heads):
            own, shared = slice(head * width, (head + 1) * width), head // (heads // kv_heads)
            keys, values = (t[:, shared * width : (shared + 1) * width] for t in (k, v))
            queries = q[:, own]
            if model.blocks[0].attention.q_norm is not None:
                queries = norm(queries, weights[f"{prefix}.q_norm.weight"])
                keys = norm(keys, weights[f"{prefix}.k_norm.weight"])
            queries = [turned(row, position) for position, row in enumerate(queries)]
            keys = [turned(row, position) for position, row in enumerate(keys)]
            for here, query in enumerate(queries):
                seen = [
                    there
                    for there in range(here + 1)
                    if (window is None or there > here - window) and numbers[there] == numbers[here]
                ]
                scores = torch.stack([query @ keys[there] for there in seen]) / math.sqrt(width)
                out[here, own] = scores.softmax(0) @ values[seen]
        return out @ weights[f"{prefix}.out.weight"].T

    rows = []
    for number, row in enumerate(ids):
        x = weights["embedding.weight"][row]
        numbers = torch.zeros(len(row)) if documents is None else documents[number]
        for layer in range(len(model.blocks)):
            block = f"blocks.{layer}"
            x = x + attention(norm(x, weights[f"{block}.attention_norm.weight"]), f"{block}.attention", numbers)
            y = norm(x, weights[f"{block}.feed_forward_norm.weight"])
            gate, up = (y @ weights[f"{block}.feed_forward.gate_up.weight"].T).chunk(2, -1)
            x = x + (gate * gate.sigmoid() * up) @ weights[f"{block}.feed_forward.down.weight"].T
        head = weights.get("head.weight", weights["embedding.weight"])
        rows.append(norm(x, weights["norm.weight"]) @ head.T)
    return torch.stack(rows)


KINDS = {
    "plain": {},
    "gqa_untied": dict(num_kv_heads=2, tie_embeddings=False),
    "mqa_qk_norm": dict(num_kv_heads=1, qk_norm=True),
    "window": dict(window=4),
    "scaled_wide_heads": dict(rotary_scaling=SCALING, head_width=16),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("attend", [sdpa.attend, naive.attend], ids=["sdpa", "naive"])
def test_the_logits_are_those_of_the_formulas_in_float64(kind, attend):
    options = KINDS[kind]
    model, ids = wide_awake(build(**options, attention=attend)), tokens(rows=2, steps=9)
    expected = by_hand(model, ids, window=options.get("window"), scaling=options.get("rotary_scaling"))
    assert expected.std() > 0.3
    torch.testing.assert_close(model(ids).double(), expected, atol=2e-5, rtol=0)


def test_documents_are_separate_texts_by_the_formulas():
    model, ids = wide_awake(build()), tokens(rows=2, steps=9)
    documents = torch.tensor([[0, 0, 0, 1, 1, 2, 2, 2, 2], [4] * 9])
    expected = by_hand(model, ids, documents=documents)
    torch.testing.assert_close(model(ids, documents=documents).double(), expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize("attend", [sdpa.attend, naive.attend], ids=["sdpa", "naive"])
@pytest.mark.parametrize("window", [None, 3])
def test_changing_document_1_moves_no_logit_of_document_2(attend, window):
    model, ids = wide_awake(build(attention=attend, window=window)), tokens(steps=20)
    documents = torch.tensor([0] * 8 + [1] * 12).expand(3, -1)
    changed = ids.clone()
    changed[:, :8] = (changed[:, :8] + 7) % 61
    before, after = model(ids, documents=documents), model(changed, documents=documents)
    assert torch.equal(before[:, 8:], after[:, 8:])
    assert not torch.equal(before[:, :8], after[:, :8])
    if window is None:
        assert not torch.equal(model(ids)[:, 8:], model(changed)[:, 8:]), "without documents it does move"


def test_no_step_sees_what_comes_after_it():
    model, ids = wide_awake(build()), tokens()
    changed = ids.clone()
    changed[:, 9] = (changed[:, 9] + 1) % 61
    before, after = model(ids), model(changed)
    assert torch.equal(before[:, :9], after[:, :9])
    assert not torch.equal(before[:, 9], after[:, 9])


@pytest.mark.parametrize("cuts", [[17], [1] * 17, [5, 1, 7, 4], [16, 1]])
@pytest.mark.parametrize("window", [None, 4])
def test_cutting_a_sequence_gives_the_logits_of_the_whole(cuts, window):
    model, ids = wide_awake(build(num_kv_heads=2, window=window)), tokens()
    cache = ListCache(3, num_layers=2)
    pieces = [model(piece, cache=cache) for piece in ids.split(cuts, dim=1)]
    torch.testing.assert_close(torch.cat(pieces, dim=1), model(ids), atol=2e-5, rtol=0)
    assert cache.length == 17


def test_last_only_is_the_last_logit():
    model, ids = wide_awake(build()), tokens()
    assert model(ids, last_only=True).shape == (3, 1, 61)
    torch.testing.assert_close(model(ids, last_only=True), model(ids)[:, -1:], atol=1e-6, rtol=0)


def test_shared_heads_are_heads_with_equal_weights():
    """GQA with 2 key-value heads is MHA whose 4 heads use two pairs of equal keys and values."""
    shared, full = wide_awake(build(num_kv_heads=2)), build()
    weights = shared.state_dict()
    for name in [name for name in weights if name.endswith("qkv.weight")]:
        q, k, v = weights[name].split([32, 16, 16])
        k, v = (part.view(2, 8, 32).repeat_interleave(2, dim=0).view(32, 32) for part in (k, v))
        weights[name] = torch.cat([q, k, v])
    full.load_state_dict(weights)
    torch.testing.assert_close(shared(tokens()), full(tokens()), atol=1e-6, rtol=0)


def test_a_tied_head_is_the_embedding_itself():
    tied, untied = build(), build(tie_embeddings=False)
    assert tied.output_weight is tied.embedding.weight
    assert "head.weight" not in tied.state_dict()
    assert untied.output_weight.data_ptr() != untied.embedding.weight.data_ptr()
    assert untied.output_weight is untied.state_dict(keep_vars=True)["head.weight"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_number_of_parameters_is_the_formula(kind):
    options = {**SMALL, **KINDS[kind]}
    model = build(**KINDS[kind])
    heads, kv_heads = options["num_heads"], options.get("num_kv_heads", options["num_heads"])
    width, head = options["width"], options.get("head_width", 8)
    attention = width * head * (heads + 2 * kv_heads) + heads * head * width + (2 * head if "qk_norm" in options else 0)
    block = attention + 3 * width * options["feed_forward_width"] + 2 * width
    tables = 1 if options.get("tie_embeddings", True) else 2
    expected = tables * 61 * width + 2 * block + width
    assert sum(parameter.numel() for parameter in model.parameters()) == expected


def test_the_first_loss_is_about_that_of_guessing():
    model = build(vocab_size=512, width=64, tie_embeddings=False)
    ids = torch.randint(0, 512, (8, 33), generator=torch.Generator().manual_seed(0))
    loss = functional.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
    assert abs(loss.item() - math.log(512)) < 0.1


def test_weights_start_with_their_spread():
    model = build(vocab_size=2000, width=128, num_layers=3, feed_forward_width=256)
    for name, weight in model.named_parameters():
        if weight.ndim == 1:
            assert torch.equal(weight, torch.ones_like(weight)), name
            continue
        is_residual = name.endswith(("attention.out.weight", "feed_forward.down.weight"))
        expected = 0.02 / math.sqrt(6) if is_residual else 0.02
        assert abs(weight.std().item() / expected - 1) < 0.03, name
        assert abs(weight.mean().item()) < 0.05 * expected, name


def test_a_network_from_the_meta_device_is_filled_in_place():
    """Weights, gains and rotary tables: what the constructor gives on a real device, from the same seed."""
    with torch.device("meta"):
        model = Transformer(**SMALL, qk_norm=True)
    assert model.embedding.weight.is_meta
    model.to_empty(device="cpu")
    torch.manual_seed(5)
    initialise(model)
    expected = build(qk_norm=True)
    # The constructor draws torch's own start first, so only what does not depend on the draw is equal.
    assert torch.equal(model.rotary.cos, expected.rotary.cos)
    assert torch.equal(model.rotary.sin, expected.rotary.sin)
    assert abs(model.embedding.weight.std().item() / 0.02 - 1) < 0.1
    assert torch.equal(model.blocks[1].attention.q_norm.weight, torch.ones(8))
    assert model(tokens()).isfinite().all()


def test_all_in_bfloat16_is_near_float32_and_keeps_exact_tables():
    model = wide_awake(build(num_kv_heads=2, qk_norm=True))
    exact, table = model(tokens()), model.rotary.cos.clone()
    half = model.to(torch.bfloat16)
    assert torch.equal(half.rotary.cos, table)
    logits = half(tokens())
    assert logits.dtype == torch.bfloat16
    assert (logits.float() - exact).std() < 0.03 * exact.std()


def test_under_autocast_the_logits_are_bfloat16_and_near_float32():
    model = wide_awake(build(qk_norm=True))
    exact = model(tokens())
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(tokens())
    assert logits.dtype == torch.bfloat16
    assert (logits.float() - exact).std() < 0.03 * exact.std()


def test_the_mean_square_is_taken_in_float32():
    """300 squared, summed over 4,096 features, is far beyond what bfloat16 can add up."""
    from src.model.norm import RMSNorm

    x = torch.randn(5, 4096, generator=torch.Generator().manual_seed(0)).mul(300).to(torch.bfloat16)
    exact = x.double() / x.double().pow(2).mean(-1, keepdim=True).sqrt()
    result = RMSNorm(4096, epsilon=1e-5).to(torch.bfloat16)(x)
    assert ((result.double() - exact).abs() <= 2**-8 * exact.abs() + 1e-4).all(), "half a step of bfloat16"


def test_dropout_is_drawn_in_training_only():
    model = wide_awake(build(dropout=0.5))
    assert not torch.equal(model(tokens()), model(tokens()))
    model.eval()
    assert torch.equal(model(tokens()), model(tokens()))


def test_attention_dropout_is_drawn_in_training_only():
    model = wide_awake(build(attention_dropout=0.5, attention=naive.attend))
    assert not torch.equal(model(tokens()), model(tokens()))
    model.eval()
    assert torch.equal(model(tokens()), model(tokens()))


def test_depth_grows_from_the_embedding_to_the_head():
    model = build(num_layers=12, tie_embeddings=False)
    depths = {name: model.depth_of(name) for name, _ in model.named_parameters()}
    assert depths["embedding.weight"] == 0
    assert depths["blocks.0.attention.qkv.weight"] == 1
    assert depths["blocks.11.feed_forward.down.weight"] == 12
    assert depths["norm.weight"] == depths["head.weight"] == 13


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (dict(num_heads=8, num_kv_heads=3), r"num_heads \(8\) must be a multiple of num_kv_heads \(3\)"),
        (dict(num_heads=5), r"width \(32\) must be a multiple of num_heads \(5\)"),
        (dict(head_width=7), r"head_width \(7\) must be even"),
        (dict(width=36), r"head_width \(9\) must be even"),
        (dict(num_layers=0), r"num_layers \(0\) must be 1 or more"),
        (dict(dropout=1.0), r"dropout \(1.0\) must be at least 0 and below 1"),
        (dict(window=0), r"window \(0\) must be 1 or more"),
        (dict(checkpointing="some"), r"checkpointing \(some\) must be one of none, blocks, selective"),
        (dict(compile="yes"), r"compile \(yes\) must be one of none, block, stack"),
        (dict(rotary_scaling=dict(factor=2.0)), r"rotary_scaling \(factor\) must be null or give factor, high_"),
        (dict(rotary_scaling={**SCALING, "low_frequency_factor": 4.0}), r"low_frequency_factor \(4.0\) must lie"),
    ],
)
def test_what_does_not_fit_together_is_refused_by_name(options, sentence):
    with pytest.raises(UserError, match=sentence):
        build(**options)


def test_inputs_that_would_be_misread_are_refused():
    model = build()
    with pytest.raises(ValueError, match="65 steps are more than max_length"):
        model(torch.zeros(1, 65, dtype=torch.int64))
    cache = ListCache(1, num_layers=2)
    model(torch.zeros(1, 60, dtype=torch.int64), cache=cache)
    with pytest.raises(ValueError, match="65 steps"):
        model(torch.zeros(1, 5, dtype=torch.int64), cache=cache)
    with pytest.raises(ValueError, match="must be int32 or int64"):
        model(torch.zeros(1, 5))
    with pytest.raises(ValueError, match="shape of ids"):
        model(tokens(), documents=torch.zeros(17, dtype=torch.int64))
    with pytest.raises(ValueError, match="neither documents nor causal=False"):
        model(tokens(), documents=torch.zeros(3, 17, dtype=torch.int64), cache=ListCache(3, 2))
