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
from src.check import rules_memory
from src.check.activations import Form, activation_bytes
from src.check.memory import plan_memory
from src.check.rules_memory import GIB, Device, check_memory, free_memory, memory_rows, too_large
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
        "model": {"attention": {"_target_": f"src.attention.{attention}.attend"}, "checkpointing": "none"},
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


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("sizes", [{}, {"num_layers": 2, "width": 96}])
def test_activations_of_a_bilstm_are_what_autograd_saves(sizes, precision):
    if precision == "bf16-mixed" and not torch.cpu._is_avx512_bf16_supported():
        pytest.skip("oneDNN's bf16 kernel is not on this processor")
    network = BiLSTM(**{"vocab_size": 50, "width": 32, "hidden": 64} | sizes, parallel_directions=False)
    ids, lengths = torch.randint(1, 50, (16, 40)), torch.full((16,), 40)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
        found = saved_bytes(network, lambda: network(ids, lengths))
    number = 4 if precision == "32-true" else 2
    form = Form(rows=16, length=40, number=number, stream=4, cuda=False, attention="none")
    assert activation_bytes(network, form).kept == pytest.approx(found, rel=0.25)


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
    [("sdpa", "bf16-mixed", 8, 128), ("sdpa", "32-true", 1, 32), ("naive", "32-true", 1, 128)],
)
def test_the_planned_peak_is_that_of_a_real_step(attention, rows, length, checkpointing, precision):
    """Never below, since that would let a run die; at most a quarter above."""
    options = {"max_length": length, "attention": BACKENDS[attention], "checkpointing": checkpointing}
    make = partial(Transformer, **SIZES, **options)
    network, peak = peak_of_a_step(make, rows=rows, length=length, precision=precision)
    config = config_of(rows=rows, length=length, precision=precision, attention=attention)
    assert peak <= plan_memory(config, network, cuda=False).total * 1.02
    assert plan_memory(config, network, cuda=False).total <= peak * 1.25


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
    assert plan_memory(config, network, cuda=False).optimizer == kept


def test_frozen_weights_have_neither_gradient_nor_state():
    network = Transformer(**SIZES, max_length=16).requires_grad_(False)
    network.norm.requires_grad_(True)
    plan = plan_memory(config_of(rows=1, length=16), network, cuda=False)
    assert (plan.gradients, plan.optimizer, plan.copies) == (64 * 4, 2 * 64 * 4, 0)


def big(**options):
    with torch.device("meta"):
        return Transformer(**BIG, **options)


def test_a_billion_weights_at_8_by_2048_do_not_fit_into_24_gib(monkeypatch):
    """On the meta device: the exact count of weights, and the sentence with the part that is too large."""
    network = big()
    assert sum(parameter.numel() for parameter in network.parameters()) == 1_100_048_384
    monkeypatch.setattr(rules_memory, "free_memory", lambda *_: 24 * GIB)
    config = config_of(rows=8, length=2048, precision="bf16-mixed", attention="auto")
    with pytest.raises(UserError, match=r"of them for activations; this machine has 24.0. Try model.checkpointing=bl"):
        check_memory(config, network)
    config = config_of(rows=1, length=2048, precision="bf16-true", attention="auto")
    check_memory(config, big(checkpointing="blocks"))


def test_a_bigger_batch_or_accumulation_never_needs_less():
    network, totals = big(checkpointing="blocks"), []
    for rows, accumulated in ((1, 1), (2, 1), (2, 4), (4, 4)):
        config = config_of(rows=rows, length=2048, precision="bf16-mixed", accumulate_grad_batches=accumulated)
        totals.append(plan_memory(config, network, cuda=False).total)
    assert totals == sorted(totals)


def test_the_way_out_is_one_that_helps():
    """Where weights, gradients and optimizer alone are too large, no smaller batch is offered."""
    config = config_of(rows=8, length=64)
    plan = plan_memory(config, big(), cuda=True)
    fixed = plan.weights + plan.gradients + plan.optimizer
    some, none = (too_large(config, plan, Device("Z9", size, cuda=True)) for size in (fixed + 1, fixed - 1))
    assert "data.batch_size below 8" in some
    assert "data.batch_size" not in none
    assert "precision=bf16_true" in none
    half = config_of(rows=1, length=64, precision="bf16-true")
    assert "precision" not in too_large(half, plan, Device("Z9", fixed, cuda=True))
    assert too_large(config, plan, Device("Z9", plan.total, cuda=True)) is None


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
    *parts, total, device = memory_rows(config, network)
    assert sum(row["GiB"] for row in parts if row["GiB"] != "not estimated") == pytest.approx(total["GiB"])
    assert device["memory"] == "this machine has"
    estimated = parts[4]["GiB"] != "not estimated"
    assert (parts[4]["memory"], estimated) == ("activations", not isinstance(network, torch.nn.Linear))


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
    """At its own settings on 24 GiB in bf16: of all the choices only transformer_1b is refused."""
    composed = compose(f"model={name}", "precision=bf16", "trainer=cpu", "paths.run_dir=x")
    config = plain(composed)
    network = build_on_meta(config)
    plan = plan_memory(config, network, cuda=False)
    assert plan.weights >= 4 * count_parameters(network)
    refused = too_large(config, plan, Device("Z9", 24 * GIB, cuda=False))
    assert (refused is not None) == (name == "transformer_1b")
