"""The planned memory against what autograd really saves, what optimizers really keep, and the peak of real steps."""

import weakref
from functools import partial

import pytest
import torch
import yaml
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from src.attention import naive, sdpa
from src.check import device
from src.check.activations import Form, activation_bytes
from src.check.device import FRAMEWORK, GIB, Device, free_memory
from src.check.memory import MOMENTS, plan_memory
from src.check.rules_averaging import EMA
from src.check.rules_memory import check_memory, too_large
from src.check.table import memory_rows
from src.check.targets import import_target
from src.errors import UserError
from src.launch.build import count_parameters
from src.launch.compose import plain
from src.launch.preflight import build_on_meta
from src.model.bilstm import BiLSTM
from src.model.transformer import Transformer
from src.model.transformer_classifier import TransformerClassifier
from src.optimizer.groups import parameter_groups
from src.task.linear_cross_entropy import linear_cross_entropy
from tests.conftest import ROOT

SIZES = {"vocab_size": 300, "width": 64, "num_layers": 3, "num_heads": 4, "num_kv_heads": 2, "feed_forward_width": 176}
BACKENDS = {"naive": naive.attend, "sdpa": sdpa.attend}
BIG = {"vocab_size": 32000, "width": 2048, "num_layers": 22, "num_heads": 16, "num_kv_heads": 2}
BIG |= {"feed_forward_width": 5632, "max_length": 2048, "tie_embeddings": False}


def config_of(*, rows, length, precision="32-true", attention="sdpa", optimizer=None, **trainer):
    return {
        "data": {"batch_size": rows, "max_length": length},
        "model": {"attention": {"_target_": f"src.attention.{attention}.attend"}},
        "optimizer": optimizer or {"_target_": "torch.optim.AdamW"},
        "task": {"loss_chunk": None},
        "trainer": {"precision": precision, "accelerator": "cpu", "devices": 1, **trainer},
    }


def saved_bytes(network, forward):
    """Bytes of the storages that autograd holds after `forward`, the network's own left out."""
    own = {tensor.untyped_storage().data_ptr() for tensor in [*network.parameters(), *network.buffers()]}
    held: dict[int, Tensor] = {}

    def pack(tensor):
        held.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = forward()
    found = sum(tensor.untyped_storage().nbytes() for pointer, tensor in held.items() if pointer not in own)
    del output
    return found


def packed(ids):
    """Two documents in every row, cut in the middle."""
    documents = torch.zeros_like(ids)
    documents[:, ids.shape[1] // 2 :] = 1
    return documents


@pytest.mark.parametrize(
    ("attention", "precision", "options"),
    [
        ("sdpa", "32-true", {}),
        ("sdpa", "bf16-mixed", {"num_kv_heads": 4, "dropout": 0.1}),
        ("sdpa", "bf16-true", {"qk_norm": True, "head_width": 24}),
        ("sdpa", "bf16-mixed", {"attention_dropout": 0.1}),
        ("sdpa", "32-true", {"window": 16, "num_kv_heads": 1}),
        ("sdpa", "bf16-mixed", {"checkpointing": "blocks", "dropout": 0.1}),
        ("naive", "32-true", {"attention_dropout": 0.1, "num_kv_heads": 1}),
        ("naive", "bf16-mixed", {}),
        ("naive", "bf16-true", {"num_kv_heads": 4}),
    ],
)
def test_activations_of_a_decoder_are_what_autograd_saves(attention, precision, options):
    rows, length = 4, 64
    network = Transformer(**SIZES | options, max_length=length, attention=BACKENDS[attention])
    if precision == "bf16-true":
        network = network.to(torch.bfloat16)
    ids = torch.randint(0, 300, (rows, length))
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
        found = saved_bytes(network, lambda: network.hidden(ids, documents=packed(ids)))
    if precision == "bf16-mixed" and "checkpointing" not in options:
        # The copies of the matrices have a row of their own in the plan.
        found -= 2 * sum(matrix.numel() for matrix in network.blocks.parameters() if matrix.ndim == 2)
    stream, number = {"32-true": (4, 4), "bf16-mixed": (4, 2), "bf16-true": (2, 2)}[precision]
    form = Form(rows=rows, length=length, number=number, stream=stream, cuda=False, attention=attention)
    assert activation_bytes(network, form).kept == pytest.approx(found, rel=0.1)


class Living(TorchDispatchMode):
    """Counts bytes of all storages that operators make, from birth to death."""

    def __init__(self):
        super().__init__()
        self.sizes, self.now, self.peak = {}, 0, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        output = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(output):
            if isinstance(tensor, Tensor):
                self.meet(tensor.untyped_storage())
        return output

    def meet(self, storage):
        if storage._cdata not in self.sizes:
            self.sizes[storage._cdata] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self.forget, storage._cdata)

    def forget(self, key):
        self.now -= self.sizes.pop(key)


def peak_of_a_step(make_network, *, rows, length, precision):
    """The third step as Lightning takes it: gradients of the step before are dropped between forward and backward."""
    with Living() as living:
        network = make_network()
        optimizer = torch.optim.AdamW(network.parameters(), fused=True)
        ids = torch.randint(0, 300, (rows, length))
        documents = packed(ids)
        for _ in range(3):
            living.peak = living.now
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
                hidden = network.hidden(ids, documents=documents).flatten(0, 1)
                loss = linear_cross_entropy(hidden, network.output_weight, ids.flatten()).objective
            del hidden
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            del loss
    return network, living.peak


@pytest.mark.parametrize("checkpointing", ["none", "blocks", "selective"])
@pytest.mark.parametrize(
    ("attention", "precision", "rows", "length"),
    [("sdpa", "bf16-mixed", 8, 128), ("sdpa", "32-true", 8, 128), ("naive", "32-true", 1, 128)],
)
def test_the_planned_peak_is_that_of_a_real_step(attention, rows, length, checkpointing, precision):
    """Within 5 %; a batch of one row may be planned higher, since gradients of the block at work are not there yet."""
    options = {"max_length": length, "attention": BACKENDS[attention], "checkpointing": checkpointing}
    make = partial(Transformer, **SIZES, **options)
    network, peak = peak_of_a_step(make, rows=rows, length=length, precision=precision)
    config = config_of(rows=rows, length=length, precision=precision, attention=attention)
    planned = plan_memory(config, network, cuda=False).total
    assert 0.95 * peak <= planned <= (1.05 if rows > 1 else 1.15) * peak


@pytest.mark.parametrize("path", sorted((ROOT / "conf" / "optimizer").glob("*.yaml")), ids=lambda path: path.stem)
def test_optimizer_state_is_what_the_optimizer_keeps(path):
    settings = yaml.safe_load(path.read_text())
    network = Transformer(**SIZES, max_length=16)
    options = {name: value for name, value in settings.items() if not name.startswith("_")}
    options = {name: float(value) if isinstance(value, str) else value for name, value in options.items()}
    optimizer = import_target(settings["_target_"], key="optimizer")(
        parameter_groups(network, decay="matrices"), **options
    )
    network(torch.randint(0, 300, (1, 8))).sum().backward()
    optimizer.step()
    held = [part for state in optimizer.state.values() for part in state.values() if isinstance(part, Tensor)]
    kept = sum(tensor.nbytes for tensor in held if tensor.ndim > 0)
    config = config_of(rows=1, length=16, optimizer=settings)
    assert plan_memory(config, network, cuda=False).parts["optimizer"].step == kept


def test_frozen_weights_have_neither_gradient_nor_state():
    network = Transformer(**SIZES, max_length=16).requires_grad_(False)
    network.norm.requires_grad_(True)
    parts = plan_memory(config_of(rows=1, length=16), network, cuda=False).parts
    assert [parts[name].step for name in ("gradients", "optimizer", "half copies")] == [64 * 4, 2 * 64 * 4, 0]


def test_averages_of_the_weights_are_one_more_copy():
    network = Transformer(**SIZES, max_length=16)
    config = config_of(rows=1, length=16)
    plain = plan_memory(config, network, cuda=False)
    config["callbacks"] = {"ema": {"_target_": "lightning.pytorch.callbacks.EMAWeightAveraging"}, "none": None}
    assert plan_memory(config, network, cuda=False).total - plain.total == plain.parts["weights"].step


def test_our_average_is_kept_in_float32_beside_weights_of_16_bits():
    network = Transformer(**SIZES, max_length=16)
    config = config_of(rows=1, length=16, precision="bf16-true")
    config["callbacks"] = {"ema": {"_target_": EMA}}
    numbers = sum(parameter.numel() for parameter in network.parameters())
    assert plan_memory(config, network, cuda=False).parts["averages"].loss == 4 * numbers


def big(**options):
    with torch.device("meta"):
        return Transformer(**BIG, **options)


def test_a_billion_weights_at_8_by_2048_do_not_fit_into_24_gib(monkeypatch):
    """On the meta device: the exact count of weights, and the sentence with the part that is too large."""
    network = big()
    assert sum(parameter.numel() for parameter in network.parameters()) == 1_100_048_384
    monkeypatch.setattr(device, "free_memory", lambda *_: 24 * GIB)
    config = config_of(rows=8, length=2048, precision="bf16-mixed", attention="auto")
    with pytest.raises(UserError, match=r"of them for activations; this machine has 24.0. Try data.batch_size=1 accu"):
        check_memory(config, network)
    config = config_of(rows=1, length=2048, precision="bf16-true", attention="auto")
    check_memory(config, big(checkpointing="blocks"))


def test_a_bigger_batch_or_accumulation_never_needs_less():
    network, totals = big(checkpointing="blocks"), []
    for rows, accumulated in ((1, 1), (2, 1), (2, 4), (4, 4)):
        config = config_of(rows=rows, length=2048, precision="bf16-mixed", accumulate_grad_batches=accumulated)
        totals.append(plan_memory(config, network, cuda=False).total)
    assert totals == sorted(totals)


def refusal(config, network, size):
    return too_large(config, network, Device("Z9", size, cuda=True))


def test_the_ways_out_help_and_the_cheapest_comes_first():
    """A second forward costs a third of the time, smaller batches some of the speed, devices money, bf16 precision."""
    network, config = big(), config_of(rows=8, length=2048, precision="bf16-mixed", attention="auto")
    config["model"]["checkpointing"] = "none"
    config["trainer"] |= {"accelerator": "gpu", "strategy": "auto", "num_nodes": 1}
    total = plan_memory(config, network, cuda=True).total + FRAMEWORK[True]
    assert refusal(config, network, total) is None
    sentence = refusal(config, network, total - 1)
    ways = ("model.checkpointing=blocks (", "data.batch_size=4 accumulation=batches accumulation.batches=2 (")
    ways += ("strategy=fsdp trainer.devices=8 (", "precision=bf16_true (", "a smaller model or a device")
    places = [sentence.index(way) for way in ways]
    assert places == sorted(places)


def test_where_no_change_is_enough_alone_they_are_offered_together():
    network, config = big(), config_of(rows=8, length=2048, precision="bf16-mixed", attention="auto")
    config["model"]["checkpointing"] = "none"
    config["trainer"] |= {"accelerator": "gpu", "strategy": "auto", "num_nodes": 1}
    together = "model.checkpointing=blocks with data.batch_size={} accumulation=batches accumulation.batches={}"
    assert f"Try {together.format(4, 2)} (" in refusal(config, network, 24 * GIB)
    assert f"Try {together.format(1, 8)} with strategy=fsdp trainer.devices=8 (" in refusal(config, network, 12 * GIB)
    # Where the state of one shard of many is too large, nothing is promised.
    assert "Try a smaller model or a device with more memory." in refusal(config, network, 2 * GIB)


@pytest.mark.parametrize(
    "network",
    [
        TransformerClassifier(vocab_size=60, width=16, num_layers=1, num_heads=2, feed_forward_width=8, max_length=8),
        BiLSTM(vocab_size=60, width=8, hidden=8),
        torch.nn.Linear(3, 3),
    ],
    ids=lambda network: type(network).__name__,
)
def test_the_table_adds_up_for_every_network(network):
    config = config_of(rows=2, length=8)
    plan = plan_memory(config, network, cuda=False)
    *parts, total, framework, needed = memory_rows(config, network, plan, Device("Z9", GIB, cuda=False))
    for moment in MOMENTS:
        sizes = [float(row[moment]) for row in parts if moment in row]
        assert sum(sizes) == pytest.approx(float(total[moment]), abs=0.005 * (1 + len(sizes)))
        assert float(needed[moment]) == pytest.approx(float(total[moment]) + float(framework[moment]), abs=0.011)
    assert needed["how"] == "Z9 has 1,024.00"
    without = [row["how"] for row in parts if row["MiB per device"] == "activations" and len(row) == 2]
    assert len(without) == isinstance(network, torch.nn.Linear)


def test_free_memory_is_the_least_of_what_the_machine_and_its_container_say(tmp_path):
    meminfo, limit, nowhere = tmp_path / "meminfo", tmp_path / "memory.max", tmp_path / "nowhere"
    meminfo.write_text("MemTotal: 9 kB\nMemAvailable:  5 kB\n")
    assert free_memory(meminfo, nowhere) == 5 * 1024
    limit.write_text("max\n")
    assert free_memory(meminfo, limit) == 5 * 1024
    limit.write_text("2048\n")
    assert free_memory(meminfo, limit) == 2048
    assert free_memory(nowhere, nowhere) > 2**28


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "conf" / "model").glob("*.yaml")))
def test_every_model_has_a_plan(compose, name):
    """At its own settings on 24 GiB in bf16: only the choices of a billion weights and more are refused."""
    composed = compose(f"model={name}", "precision=bf16", "trainer=cpu", "paths.run_dir=x")
    config = plain(composed)
    network = build_on_meta(config)
    assert plan_memory(config, network, cuda=False).parts["weights"].step >= 4 * count_parameters(network)
    refused = too_large(config, network, Device("Z9", 24 * GIB, cuda=False))
    assert (refused is not None) == (name in ("transformer_1b", "llama_70b"))
