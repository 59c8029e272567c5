"""`python -m src.check plan.device=...`: memory and time of trainings on devices that are not here."""

import pytest

from src.check.config import check_settings
from src.check.device import Device, Planning, device_memory, named_device
from src.check.duration import duration_of
from src.check.memory import plan_memory
from src.check.rules_memory import check_memory, too_large
from src.check.signatures import settings_of
from src.check.table import cache_line, memory_rows, time_rows
from src.errors import UserError
from src.launch.planning import take_planning
from src.launch.preflight import examine, preflight
from src.model.flops import flops_per_token
from src.run.devices import MEMORY, SHORT, full_name
from src.run.peaks import HALF
from tests.conftest import door

EIGHT = ["model=transformer_1b", "strategy=fsdp", "trainer.devices=8", "plan.device=H100-80GB", "data.max_length=8192"]
MANY = ["model=llama_70b", "strategy=fsdp", "trainer.devices=8", "trainer.num_nodes=64", "plan.device=H100-80GB"]


@pytest.fixture(scope="module")
def plan(compose):
    """`plan("model=...", ...)` -> config, network, device and settings as the door has them."""

    def made(*overrides):
        composed = compose(*overrides, config_name="check")
        planning, device = take_planning(composed)
        config, network = examine(composed, run_dir="<run folder>", elsewhere=device is not None)
        return config, network, device, planning

    return made


def test_a_billion_weights_on_eight_devices_at_8192_tokens(plan):
    """Refused at eight blocks per device without checkpointing, fits with it; 20 tokens per weight are read."""
    config, network, device, planning = plan(*EIGHT)
    assert "GiB of memory" in (too_large(config, network, device) or "")
    config, network, device, planning = plan(*EIGHT, "model.checkpointing=blocks", "plan.mfu=0.4")
    check_memory(config, network, device)
    time = duration_of(config, network, device, planning)
    assert (time.devices, time.examples, time.tokens) == (8, 64, 64 * 8192)
    assert time.tokens_per_second == 0.4 * 8 * 989.4e12 / flops_per_token(network, 8192, causal=False)
    assert time.seconds == pytest.approx(20 * 1_100_048_384 / time.tokens_per_second)
    rows = {row["time"]: row["value"] for row in time_rows(time)}
    assert rows["tokens per step"] == "524,288"
    assert float(rows["hours"]) == round(time.seconds / 3600, 1)


def test_70_billion_weights_on_512_devices(plan):
    """80 layers of Llama 3 70B: 2 D^2 + 2 D 1024 for attention, 3 D 28672, gains; embedding, head and final norm."""
    config, network, device, planning = plan(*MANY, "plan.tokens=15e12")
    parameters = 2 * 128256 * 8192 + 80 * (2 * 8192**2 + 2 * 8192 * 1024 + 3 * 8192 * 28672 + 2 * 8192) + 8192
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters == 70_553_706_496
    check_memory(config, network, device)
    parts = plan_memory(config, network, cuda=True).parts
    assert parts["optimizer"].step == pytest.approx(8 * parameters / 512, abs=8)
    time = duration_of(config, network, device, planning)
    assert time.devices == 512
    assert time.seconds == 15e12 * flops_per_token(network, 8192, causal=False) / (0.4 * 512 * 989.4e12)
    assert cache_line(network, length=8192).startswith(
        "Training keeps no cache; that of generation takes 327,680 bytes"
    )
    with pytest.raises(
        UserError, match=r"of them for optimizer; .* Try strategy=fsdp trainer.devices=8 trainer.num_no"
    ):
        check_memory(*plan("model=llama_70b", "plan.device=H100-80GB")[:3])


def test_the_door_shows_the_tables_before_it_refuses():
    done = door("check", *EIGHT)
    assert done.returncode == 2
    for number in ("1,100,048,384 x 4 bytes / 8", "65,536 tokens (8 x 8,192)", "NVIDIA H100 80GB HBM3 has 79.65"):
        assert number in done.stdout
    assert "micro 8 x accumulation 1 x data-parallel 8 = 64 examples per optimizer step" in done.stdout
    assert "of them for activations; NVIDIA H100 80GB HBM3 has 79.6. Try model.checkpointing=blocks (" in done.stderr


def test_tensor_parallel_ranks_read_the_same_rows(plan):
    """8 devices in pairs that split matrices are a data-parallel size of 4."""
    tensor = [word.replace("fsdp", "tensor_parallel") for word in EIGHT]
    config, network, device, planning = plan(*tensor, "model.compile=none")
    assert duration_of(config, network, device, planning).examples == 8 * 4


def test_what_is_not_here_is_no_obstacle_to_a_plan(plan, monkeypatch):
    """No GPU, no DeepSpeed, no other nodes; the same config is refused where it would have to train."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    overrides = ["model=transformer_1b", "model.compile=none", "strategy=deepspeed_zero3", "trainer.num_nodes=2"]
    config = plan(*overrides, "trainer=gpu", "precision=bf16", "plan.device=h200")[0]
    assert config["trainer"]["accelerator"] == "gpu"
    assert plan("model=bilstm", "precision=fp16", "plan.device=A10")[0]["trainer"]["precision"] == "16-mixed"
    with pytest.raises(UserError, match="finds no CUDA device"):
        plan(*overrides, "trainer=gpu", "precision=bf16")
    with pytest.raises(UserError, match=r"trainer.accelerator \(cpu\) does not go with plan.device"):
        plan("model=transformer_1b", "trainer=cpu", "plan.device=A10")


def test_the_settings_of_a_plan_are_no_keys_of_a_training(compose):
    with pytest.raises(Exception, match=r"plan"):
        compose("plan.device=H100-80GB")
    with pytest.raises(Exception, match=r"plan"):
        preflight(compose("model=bilstm", "+plan.mfu=0.4"), run_dir="x")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"mfu": 1.4}, r"plan.mfu \(1.4\) must be"),
        ({"tokens": -1}, r"plan.tokens \(-1\) must be"),
        ({"tokens": "many"}, r"plan.tokens \(many\) must be"),
    ],
)
def test_a_wrong_setting_is_refused(setting, message):
    section = {"device": None, "mfu": 0.4, "tokens": None} | setting
    with pytest.raises(UserError, match=message):
        check_settings(section, settings_of(Planning), key="plan", owner="plan", filled=set())


def test_a_device_has_a_long_and_a_short_name_and_a_typo_is_answered():
    assert named_device("H100-80GB") == named_device("NVIDIA H100 80GB HBM3")
    assert named_device("h200") == Device("NVIDIA H200", 143771 * 2**20, cuda=True)
    with pytest.raises(UserError, match=r"plan.device \(H100-8GB\) .* did you mean H100-80GB\?"):
        named_device("H100-8GB")
    assert set(MEMORY) <= set(HALF)
    assert {full_name(name) for name in SHORT} <= set(MEMORY)


def test_processes_of_one_machine_share_its_memory(compose, monkeypatch):
    monkeypatch.setattr("src.check.device.free_memory", lambda *_: 12 * 2**30)
    config = {"trainer": {"accelerator": "cpu", "devices": 3}}
    assert device_memory(config).size == 4 * 2**30
    assert device_memory(config | {"launcher": {"nodes": 1}}).size is None


def test_time_needs_to_know_how_much_is_read_and_by_what(plan):
    """A classifier's epochs are those of its data, which check does not read; a CPU's peak is in no table."""
    config, network, _, planning = plan("model=bilstm", "trainer=cpu")
    here = Device("this machine", 2**40, cuda=False)
    rows = {row["time"]: row["value"] for row in time_rows(duration_of(config, network, here, planning))}
    assert (rows["tokens per step"], rows["whole training"]) == ("12,800", "not known")
    config["trainer"]["max_steps"] = 100
    rows = {row["time"]: row["value"] for row in time_rows(duration_of(config, network, here, planning))}
    assert (rows["whole training"], rows["hours"]) == ("1.28e+06 tokens", "not known")
    # 6 for each of 2 x 4 x 256 x (128 + 256) weights
    assert rows["FLOP per token"] == f"{6 * 2 * 4 * 256 * (128 + 256):.4g}"


def test_a_recomputed_forward_costs_a_third_and_is_no_part_of_an_mfu(plan):
    config, network, device, planning = plan(*EIGHT, "model.checkpointing=blocks")
    time = duration_of(config, network, device, planning)
    assert time.repeated == 4 / 3
    config["model"]["checkpointing"] = "none"
    assert duration_of(config, network, device, planning).tokens_per_second == time.tokens_per_second


def test_every_part_of_a_plan_says_what_it_is_made_of(plan):
    config, network, device, _ = plan(*EIGHT, "optimizer.lr=1e-3")
    made = plan_memory(config, network, cuda=True)
    assert set(made.how) == set(made.parts)
    rows = memory_rows(config, network, made, device)
    assert all(row["how"] for row in rows)
