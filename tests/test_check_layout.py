"""What a rank holds under each strategy, against the published arithmetic of ZeRO and sums by hand."""

import warnings

import pytest

from src.check.layout import States, divided, layout_of
from src.check.memory import plan_memory
from src.check.state import largest_share
from src.launch.compose import plain
from src.launch.preflight import build_on_meta

PARAMETERS, RANKS = 7.5e9, 64


@pytest.mark.parametrize(("stage", "gigabytes"), [(0, 120), (1, 31.4), (2, 16.6), (3, 1.9)])
def test_the_example_of_the_zero_paper(stage, gigabytes):
    """Figure 1 of arXiv:1910.02054: 7.5 billion parameters, 64 ranks, Adam in mixed precision."""
    states = States(weights=int(2 * PARAMETERS), gradients=int(2 * PARAMETERS), optimizer=int(12 * PARAMETERS))
    assert round(divided(states, ranks=RANKS, stage=stage).total / 1e9, 1) == gigabytes


@pytest.fixture(scope="module")
def planned(compose):
    """`planned("strategy=fsdp", ...)` -> the parts of a plan for transformer_1b and its number of parameters."""
    networks = {}

    def parts_of(*overrides, model="transformer_1b"):
        config = plain(compose(f"model={model}", "precision=bf16", "paths.run_dir=x", *overrides))
        if model not in networks:
            networks[model] = build_on_meta(config)
        return plan_memory(config, networks[model], cuda=True)

    return parts_of


N, TABLE, BLOCK = 1_100_048_384, 32000 * 2048, 2 * 2048 * 18 * 128 + 3 * 2048 * 5632 + 2 * 2048
ROTATION = 2 * 8192 * 128 * 4


@pytest.mark.parametrize(
    ("strategy", "devices", "weights", "gradients", "optimizer"),
    [
        ("single", 1, 4 * N, 4 * N, 8 * N),
        ("ddp", 8, 4 * N, 4 * N, 8 * N),
        ("ddp_zero1", 8, 4 * N, 4 * N, N),
        ("fsdp", 8, N / 2, N / 2, N),
        ("fsdp_zero2", 8, N / 2, N / 2, N),
        ("hsdp", 8, 2 * N, 2 * N, 4 * N),  # pairs of devices hold a copy
        ("deepspeed_zero1", 8, 2 * N, 2 * N, 12 * N / 8),
        ("deepspeed_zero2", 8, 2 * N, 2 * N / 8, 12 * N / 8),
        ("deepspeed_zero3", 8, 2 * N / 8, 2 * N / 8, 12 * N / 8),
        ("deepspeed_offload", 8, 0, 2 * N / 8, 0),
    ],
)
def test_state_of_a_rank(planned, strategy, devices, weights, gradients, optimizer):
    """Bytes per parameter: our own keep weights, gradients and two moments in float32, DeepSpeed 2 + 2 + 12."""
    parts = planned(f"strategy={strategy}", f"trainer.devices={devices}").parts
    assert parts["weights"].step - ROTATION == pytest.approx(weights, abs=8)
    assert parts["gradients"].step == pytest.approx(gradients, abs=8)
    # ddp_zero1 divides whole parameters, so one rank has a little more.
    assert parts["optimizer"].step == pytest.approx(optimizer, rel=0.06 if strategy == "ddp_zero1" else 1e-6)


def test_offloading_moves_state_into_the_memory_of_the_host(planned):
    plan = planned("strategy=deepspeed_offload", "trainer.devices=8")
    assert plan.host == pytest.approx((2 + 12 + 4) * N / 8, abs=64)
    assert planned("strategy=deepspeed_zero3", "trainer.devices=8").host == 0


def test_full_shard_gathers_what_is_outside_the_blocks_and_two_of_them(planned):
    """Blocks travel in bfloat16, embedding, head and final norm in float32 from the first use to the last gradient."""
    root = 4 * (2 * TABLE + 2048)
    full = planned("strategy=fsdp", "trainer.devices=8").parts["gathered weights"]
    assert (full.loss, full.begins, full.step) == (root, root + 2 * 2 * BLOCK, 0)
    wide = planned("strategy=fsdp", "trainer.devices=8", "trainer.strategy.half_gather=false").parts
    assert wide["gathered weights"].begins == root + 2 * 4 * BLOCK
    assert wide["half copies"].loss == 2 * 22 * (BLOCK - 2 * 2048)
    kept = planned("strategy=fsdp_zero2", "trainer.devices=8").parts["gathered weights"]
    assert kept.begins == root + 22 * 2 * BLOCK


def test_accumulation_keeps_whole_gradients_or_parts_of_them(planned):
    several = ("strategy=fsdp", "trainer.devices=8", "accumulation=batches")
    assert planned(*several).parts["gradients"].begins == 4 * N
    sharded = planned(*several, "trainer.strategy.accumulate=sharded").parts["gradients"]
    assert sharded.begins == pytest.approx(4 * N / 8, abs=8)


def test_tensor_parallelism_divides_matrices_and_what_they_give_and_not_the_stream(planned):
    alone = planned("strategy=single").parts
    split = planned("strategy=tensor_parallel", "trainer.devices=2").parts
    assert split["weights"].step - ROTATION == pytest.approx(2 * N, rel=1e-3)
    assert alone["activations"].loss / 2 < split["activations"].loss < 0.75 * alone["activations"].loss
    both = planned("strategy=tensor_parallel", "trainer.devices=8").parts
    assert both["weights"].step - ROTATION == pytest.approx(4 * N / 8, rel=1e-3)
    assert both["activations"] == split["activations"]


def test_only_naive_attention_grows_with_the_square_of_the_length(planned):
    def growth(attention):
        short, long = (
            planned(f"data.max_length={length}", f"attention={attention}").parts["activations"].loss
            for length in (2048, 4096)
        )
        return long / short

    assert growth("flash") == pytest.approx(2, rel=1e-6)
    assert growth("naive") > 3


def test_the_fullest_rank_of_a_greedy_division():
    assert largest_share([5, 4, 3, 3], 2) == 8
    assert largest_share([1], 4) == 1


def test_zero1_is_planned_as_torch_divides(compose):
    """Against torch's own division of the tiny network's parameters over four ranks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own use of torch.jit
        from torch.distributed.optim import ZeroRedundancyOptimizer

    network = build_on_meta(plain(compose("model=transformer_tiny", "paths.run_dir=x")))
    optimizer = ZeroRedundancyOptimizer.__new__(ZeroRedundancyOptimizer)
    optimizer.param_groups, optimizer.world_size = [{"params": list(network.parameters())}], 4
    optimizer._partition_parameters_cache = []
    parts = optimizer._partition_parameters()
    most = max(sum(p.numel() for group in groups for p in group["params"]) for groups in parts)
    assert largest_share([parameter.numel() for parameter in network.parameters()], 4) == most


def test_a_layout_says_what_it_divides(compose):
    def words(*overrides):
        return layout_of(plain(compose("model=transformer_1b", "paths.run_dir=x", *overrides))).describe()

    assert words("strategy=single") == "nothing divided"
    assert words("strategy=hsdp", "trainer.devices=8") == (
        "weights, gradients and optimizer state divided over 2 ranks, 4 copies"
    )
    assert words("strategy=tensor_parallel", "trainer.devices=2") == "nothing divided, matrices split over 2"
