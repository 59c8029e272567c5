"""Every strategy that runs on a CPU trains the weights of one process, and holds only its part of them.

Tolerances: ranks add up parts of sums, one process adds up the whole, which differs by rounding: 6e-8 per sum in
float32 for numbers near 1, and stays below 1e-6 over a few steps. In bf16 a product's inputs are rounded to 8 bits, so
that sums over other rows differ by up to 0.4 %: of a few steps of 0.01, below 1e-3.
"""

import json

import pytest
import torch

from tests.strategy_cases import furthest, in_one_process, train_on_ranks

DDP = {"_target_": "src.strategy.ddp.DataParallel", "timeout": 60.0}
ZERO1 = {**DDP, "shard_optimizer": True}
FSDP = {"_target_": "src.strategy.sharded.Sharded", "timeout": 60.0}
ZERO2 = {**FSDP, "reshard_after_forward": False}
SPLIT = {**FSDP, "tensor_parallel_size": 2}
# The strategies on two ranks; the networks that each can train, each at its hardest: accumulated, clipped, resumed.
STRATEGIES = {"ddp": DDP, "ddp_zero1": ZERO1, "fsdp": FSDP, "fsdp_zero2": ZERO2, "tensor_parallel": SPLIT}
RESUMED = {"accumulate": 2, "epochs": 2, "resume": True}
TWO = {
    **{f"{name}-resumed": {"strategy": strategy, **RESUMED} for name, strategy in STRATEGIES.items()},
    **{f"{name}-bilstm": {"strategy": STRATEGIES[name], "model": "bilstm"} for name in ("ddp_zero1", "fsdp")},
    **{f"{name}-value": {"strategy": STRATEGIES[name], "algorithm": "value", "clip": 1e-3} for name in ("fsdp",)},
    **{
        f"{name}-bf16": {"strategy": STRATEGIES[name], "precision": "bf16-mixed"}
        for name in ("fsdp", "tensor_parallel")
    },
    "fsdp-bf16_true": {"strategy": FSDP, "precision": "bf16-true", "checkpointing": "selective"},
    "fsdp-bilstm_lm": {"strategy": FSDP, "model": "bilstm_lm", "clip": None},
    "fsdp-sharded_gradients": {"strategy": {**FSDP, "accumulate": "sharded"}, "accumulate": 2},
    "fsdp-classifier": {"strategy": FSDP, "model": "transformer_classifier", "checkpointing": "blocks"},
    "tensor_parallel-classifier": {"strategy": SPLIT, "model": "transformer_classifier"},
    "tensor_parallel-untied": {"strategy": SPLIT, "model": "untied", "algorithm": "value", "clip": 1e-3},
    "fsdp-then-tensor_parallel": {"strategy": FSDP, **RESUMED, "then": {"strategy": SPLIT}, "model": "untied"},
    "tensor_parallel-then-ddp": {"strategy": SPLIT, **RESUMED, "then": {"strategy": DDP}, "accumulate": 1},
}
FOUR = {
    "hsdp-resumed": {"strategy": {**FSDP, "shard_size": 2}, **RESUMED},
    "tensor_parallel_and_fsdp-resumed": {"strategy": SPLIT, **RESUMED, "model": "untied"},
    "tensor_parallel_and_hsdp": {"strategy": {**SPLIT, "shard_size": 1}},
}
TOLERANCE = {"32-true": 1e-6, "bf16-mixed": 1e-3, "bf16-true": 1e-3}
CASES = TWO | FOUR
# torch's own ways of saying that gloo has no such thing, and that a step is still to come.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Name of a case to what each rank has come to."""
    folder = tmp_path_factory.mktemp("strategies")
    ranks = {
        cases: train_on_ranks(all_of, folder / cases, ranks=n) for cases, all_of, n in (("2", TWO, 2), ("4", FOUR, 4))
    }
    return {name: [rank[name] for rank in group] for group in ranks.values() for name in group[0]}


@pytest.fixture(scope="module")
def alone():
    """Case to what one process has come to, each trained once."""
    kept = {}

    def train(case):
        key = json.dumps({key: value for key, value in case.items() if key not in ("strategy", "resume", "then")})
        if key not in kept:
            kept[key] = in_one_process(case)
        return kept[key]

    return train


@pytest.mark.parametrize("name", CASES)
def test_the_ranks_train_the_weights_of_one_process(found, alone, name):
    case, one = CASES[name], alone(CASES[name])
    tolerance = TOLERANCE[case.get("precision", "32-true")]
    for rank in found[name]:
        assert rank["whole"].keys() == one["whole"].keys()
        assert furthest(rank["whole"], one["whole"]) < tolerance
        assert furthest(rank["whole"], found[name][0]["whole"]) == 0


@pytest.mark.parametrize("name", CASES)
def test_the_gradient_has_the_norm_of_one_process_on_every_rank(found, alone, name):
    exact = CASES[name].get("precision", "32-true") == "32-true"
    norms = [rank["norm"] for rank in found[name]]
    assert len(set(norms)) == 1
    assert norms[0] == pytest.approx(alone(CASES[name])["norm"], rel=1e-5 if exact else 0.02)


def test_training_moves_the_weights_by_more_than_the_tolerances(alone):
    """Or the comparisons above would hold for a strategy that does nothing."""
    trained = alone({})["whole"]
    again = alone({"epochs": 2, "accumulate": 2})["whole"]
    assert furthest(trained, again) > 1e-2


@pytest.mark.parametrize("name", [name for name in CASES if name.endswith("resumed")])
def test_a_rank_holds_its_part_only(found, name):
    """Of the weights, of Adam's two moments, and of each matrix."""
    first, *others = found[name]
    whole, ranks = first["of"], 1 + len(others)
    if name.startswith("ddp"):
        assert first["weights"] == whole
        divided = name.startswith("ddp_zero1")
        assert (first["states"] + others[0]["states"] == 2 * whole) == divided
        assert (first["states"] == 2 * whole) != divided
        return
    parts = {"hsdp-resumed": 2}.get(name, ranks)
    for rank in found[name]:
        assert rank["states"] == 2 * rank["weights"]
        # Tensor parallelism leaves the norms whole.
        assert whole / parts <= rank["weights"] < whole / parts * 1.05


def test_tensor_parallel_divides_heads_and_hidden_units(found):
    whole = {"qkv": [32, 16], "out": [16, 16], "gate_up": [48, 16], "down": [16, 24]}
    shapes = found["tensor_parallel-resumed"][1]["shapes"]
    assert shapes["blocks.0.attention.qkv.weight"] == [whole["qkv"][0] // 2, 16]
    assert shapes["blocks.0.attention.out.weight"] == [16, whole["out"][1] // 2]
    assert shapes["blocks.0.feed_forward.gate_up.weight"] == [whole["gate_up"][0] // 2, 16]
    assert shapes["blocks.0.feed_forward.down.weight"] == [16, whole["down"][1] // 2]
    assert shapes["embedding.weight"] == [20, 16]


def test_rank_major_rows_are_each_ranks_share_of_every_part():
    from src.model.fused import rank_major

    rows = torch.tensor([10, 11, 12, 13, 20, 21, 30, 31])  # queries, keys, values
    assert rows[rank_major([4, 2, 2], ranks=2)].tolist() == [10, 11, 20, 30, 12, 13, 21, 31]
