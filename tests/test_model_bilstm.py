"""The BiLSTM gives what torch's own packed bidirectional LSTM gives, whatever path computes it."""

import copy
import multiprocessing
import pickle
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from src.errors import UserError
from src.model.bilstm import BiLSTM

POOLINGS = ["mean", "masked_mean", "max", "mean_max", "last"]
LENGTHS = torch.tensor([7, 1, 13, 2, 9])  # odd, one word, and the longest in the middle
SMALL = dict(vocab_size=40, width=6, hidden=5, dropout=0.0)


@pytest.fixture(autouse=True)
def two_threads():
    """Two threads whatever the environment says: below two, the parallel path is not taken."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def reviews(lengths=LENGTHS, steps=13, vocab_size=40):
    ids = torch.randint(2, vocab_size, (len(lengths), steps), generator=torch.Generator().manual_seed(3))
    return ids.masked_fill(torch.arange(steps) >= lengths[:, None], 0), lengths


def build(**options):
    torch.manual_seed(11)
    return BiLSTM(**{**SMALL, **options})


def reference(model, ids, lengths):
    """Logits by nn.LSTM on packed sequences (on the padded batch for `mean`), pooled review by review."""
    embedded = model.embedding(ids)
    if model.pooling == "mean":
        return model.head(model.lstm(embedded)[0].mean(1))
    packed = pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False)
    outputs, (hidden, _) = model.lstm(packed)
    outputs = pad_packed_sequence(outputs, batch_first=True)[0]
    halves = [outputs[..., : model.lstm.hidden_size], outputs[..., model.lstm.hidden_size :]]
    each = [[half[row, :length] for row, length in enumerate(lengths.tolist())] for half in halves]
    means = [torch.stack([steps.mean(0) for steps in half]) for half in each]
    largest = [torch.stack([steps.amax(0) for steps in half]) for half in each]
    pooled = {
        "masked_mean": means,
        "max": largest,
        "mean_max": [means[0], largest[0], means[1], largest[1]],
        "last": [hidden[-2], hidden[-1]],
    }
    return model.head(torch.cat(pooled[model.pooling], 1))


def gradients(model, logits):
    model.zero_grad()
    nn.functional.cross_entropy(logits, torch.tensor([0, 1, 1, 0, 1])).backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("parallel", [True, False])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_logits_and_gradients_equal_packed_sequences(pooling, num_layers, parallel):
    """Forward and every parameter's gradient agree with pack_padded_sequence to 1e-6."""
    model = build(pooling=pooling, num_layers=num_layers, parallel_directions=parallel)
    ids, lengths = reviews()
    logits, expected = model(ids, lengths), reference(model, ids, lengths)
    torch.testing.assert_close(logits, expected, atol=1e-6, rtol=0)
    got, wanted = gradients(model, logits), gradients(model, expected)
    for name, gradient in wanted.items():
        torch.testing.assert_close(
            got[name], gradient, atol=1e-6, rtol=0, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_the_chapters_model_has_1431554_parameters():
    assert sum(parameter.numel() for parameter in BiLSTM().parameters()) == 1_431_554


def test_mean_and_max_together_need_a_head_twice_as_wide():
    assert build(pooling="mean_max").head.in_features == 2 * build(pooling="max").head.in_features == 20


@pytest.mark.parametrize("pooling", ["masked_mean", "max", "mean_max", "last"])
def test_more_padding_does_not_change_the_logits(pooling):
    model = build(pooling=pooling)
    short, long = reviews(), reviews(steps=29)
    long[0][:, :13] = short[0]
    torch.testing.assert_close(model(*long), model(*short), atol=1e-6, rtol=0)


@pytest.mark.parametrize("parallel", [True, False])
def test_the_same_seed_gives_the_same_bits_with_every_kind_of_dropout(parallel):
    model = build(
        dropout=0.4, embedding_dropout=0.3, token_dropout=0.2, num_layers=2, parallel_directions=parallel
    ).train()
    runs = []
    for _ in range(2):
        torch.manual_seed(5)
        logits = model(*reviews())
        runs.append({"logits": logits.detach(), **gradients(model, logits)})
    for name in runs[0]:
        assert torch.equal(runs[0][name], runs[1][name]), name


def test_both_paths_draw_the_same_masks():
    """One seed, dropout everywhere: the parallel path's training logits are the sequential path's."""
    options = dict(dropout=0.4, embedding_dropout=0.3, token_dropout=0.2, num_layers=2)
    logits = []
    for parallel in (True, False):
        model = build(**options, parallel_directions=parallel).train()
        torch.manual_seed(5)
        logits.append(model(*reviews()))
    torch.testing.assert_close(logits[0], logits[1], atol=1e-6, rtol=0)


def test_embedding_dropout_drops_a_feature_for_a_whole_review():
    """The scale has one value per review and feature, and keeps the mean."""
    model = build(width=64, embedding_dropout=0.5).train()
    scale = model.feature_scale(200)
    assert scale.shape == (200, 64)
    assert set(scale.unique().tolist()) == {0.0, 2.0}
    assert abs(scale.mean().item() - 1) < 0.05
    assert model.eval().feature_scale(200) is None


def test_token_dropout_replaces_words_and_never_padding():
    model = build(token_dropout=0.3).train()
    ids, lengths = reviews(torch.arange(1, 301), steps=300)
    dropped = model.drop_tokens(ids)
    changed = dropped != ids
    assert set(dropped[changed].tolist()) == {1}
    assert not changed[ids == 0].any()
    assert abs(changed.sum().item() / lengths.sum().item() - 0.3) < 0.02
    assert torch.equal(model.eval().drop_tokens(ids), ids)


def test_padding_never_gets_a_gradient():
    model = build(pooling="mean")
    assert gradients(model, model(*reviews()))["embedding.weight"][0].abs().sum() == 0


@pytest.mark.parametrize("parallel", [True, False])
@pytest.mark.parametrize("num_layers", [1, 2])
def test_bfloat16_autocast_reaches_the_kernel_and_the_logits_stay_float32(num_layers, parallel):
    """The logits differ from float32's (so autocast was on in the worker), but by little, and keep float32."""
    model = build(num_layers=num_layers, parallel_directions=parallel)
    exact = model(*reviews())
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(*reviews())
    assert logits.dtype == torch.float32
    assert 0 < (logits - exact).abs().max() < 0.02
    assert all(gradient.dtype == torch.float32 for gradient in gradients(model, logits).values())


def test_inference_mode_and_no_grad_give_the_logits_of_training_mode():
    model = build()
    logits = model(*reviews())
    with torch.inference_mode():
        inferred = model(*reviews())
    with torch.no_grad():
        ungraded = model(*reviews())
    assert inferred.is_inference()
    assert not ungraded.requires_grad
    torch.testing.assert_close(inferred, logits)
    torch.testing.assert_close(ungraded, logits)


def test_a_frozen_embedding_gets_no_gradient_and_the_rest_does():
    model = build()
    model.embedding.weight.requires_grad_(False)
    model(*reviews()).sum().backward()
    assert model.embedding.weight.grad is None
    assert model.lstm.weight_hh_l0_reverse.grad.abs().sum() > 0


def test_gradients_flow_in_eval_mode():
    """Saliency: eval mode switches dropout off, not the backward of the kernel."""
    model = build(dropout=0.4).eval()
    assert gradients(model, model(*reviews()))["embedding.weight"].abs().sum() > 0


@pytest.mark.parametrize(("threads", "each"), [(2, 1), (5, 2)])
def test_the_workers_share_the_callers_threads_and_the_caller_keeps_its_own(threads, each):
    workers = build().workers
    workers.run([int, int])
    torch.set_num_threads(threads)
    assert workers.run([torch.get_num_threads, torch.get_num_threads]) == [each, each]
    assert torch.get_num_threads() == threads


def test_an_error_in_a_worker_reaches_the_caller():
    ids, lengths = reviews(vocab_size=400)
    with pytest.raises(IndexError, match="out of range"):
        build()(ids, lengths)


def test_copies_and_pickles_compute_the_same_and_start_their_own_workers():
    model = build()
    logits = model(*reviews())
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert twin.workers is not model.workers
        torch.testing.assert_close(twin(*reviews()), logits)
    fresh = build(hidden=5)
    fresh.load_state_dict(model.state_dict())
    torch.testing.assert_close(fresh(*reviews()), logits)


def test_the_state_dict_holds_standard_names_only():
    plain = nn.LSTM(6, 5, 2, bidirectional=True, batch_first=True)
    names = {f"lstm.{name}" for name in plain.state_dict()} | {"embedding.weight", "head.weight", "head.bias"}
    assert set(build(num_layers=2).state_dict()) == names


def send_results(workers, connection):
    connection.send(workers.run([lambda: "forward", lambda: "reverse"]))


def test_a_forked_process_starts_its_own_workers():
    """A pool inherited through fork has no threads behind it, and a job given to it would wait for ever."""
    workers = build().workers
    assert workers.run([lambda: 1, lambda: 2]) == [1, 2]
    here, there = multiprocessing.Pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of any fork of a process with threads
        child = multiprocessing.get_context("fork").Process(target=send_results, args=(workers, there))
        child.start()
    answered = here.poll(30)
    child.kill()
    child.join()
    assert answered
    assert here.recv() == ["forward", "reverse"]


def test_a_model_can_be_built_on_the_meta_device():
    with torch.device("meta"):
        model = BiLSTM(num_layers=2, pooling="mean_max")
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pooling": "median"}, "pooling \\(median\\) must be one of mean, masked_mean"),
        ({"dropout": 1.0}, "dropout \\(1.0\\) must"),
        ({"token_dropout": -0.1}, "token_dropout \\(-0.1\\) must"),
        ({"hidden": 0}, "hidden \\(0\\) must"),
    ],
)
def test_options_out_of_range_are_refused_by_name(options, words):
    with pytest.raises(UserError, match=words):
        build(**options)


@pytest.mark.parametrize(
    ("ids", "lengths", "words"),
    [
        (torch.ones(2, 3), torch.tensor([3, 3]), "ids \\(torch.float32"),
        (torch.ones(3, dtype=torch.long), torch.tensor([3]), "ids \\(torch.int64, shape \\(3,\\)"),
        (torch.ones(2, 3, dtype=torch.long), torch.tensor([3, 4]), "must lie between 1 and T \\(3\\)"),
        (torch.ones(2, 3, dtype=torch.long), torch.tensor([0, 3]), "must lie between 1 and T \\(3\\)"),
        (torch.ones(2, 3, dtype=torch.long), torch.tensor([3]), "one integer per review"),
        (torch.ones(2, 3, dtype=torch.long), torch.tensor([3.0, 3.0]), "one integer per review"),
    ],
)
def test_inputs_that_would_silently_compute_nonsense_are_refused(ids, lengths, words):
    with pytest.raises(ValueError, match=words):
        build()(ids, lengths)
