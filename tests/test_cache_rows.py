"""Every cache gives back exactly what was stored, whatever the cuts and the neighbours; conf/cache names the caches."""

import pytest
import torch
import yaml

from src.cache.contiguous import ContiguousCache
from src.cache.paged import PagedCache
from src.errors import UserError
from tests.conftest import ROOT

CLASSES = {"ContiguousCache": ContiguousCache, "PagedCache": PagedCache}
SIZES = {"num_layers": 2, "num_kv_heads": 2, "head_width": 3, "max_length": 24}


def settings_of(file):
    return yaml.safe_load(file.read_text())


# Each file of conf/cache as it stands, and the values a user may turn.
CACHES = {
    file.stem: settings_of(file)
    for file in sorted((ROOT / "conf/cache").glob("*.yaml"))
    if "_target_" in settings_of(file)
}
CACHES["static"] = CACHES["contiguous"] | {"static": True}
for size in (1, 3, 24):
    CACHES[f"pages of {size}"] = CACHES["paged"] | {"page_size": size}
CACHES["fixed pages"] = CACHES["paged"] | {"page_size": 4, "num_pages": 24}


def make_cache(name, *, slots=4, **changed):
    settings = {key: value for key, value in CACHES[name].items() if not key.startswith("_")}
    return CLASSES[CACHES[name]["_target_"].split(".")[-1]](**SIZES | changed, **settings, slots=slots)


@pytest.fixture(params=list(CACHES))
def name(request):
    return request.param


class Truth:
    """The slower truth: a list of steps per sequence, put together anew each time."""

    def __init__(self):
        self.steps = {}

    def extend(self, sequences, new):
        for row, number in enumerate(sequences):
            self.steps[number] = torch.cat([self.steps.get(number, new[row][:, :, :0]), new[row]], dim=2)
        return [self.steps[number] for number in sequences]


def feed(cache, truth, sequences, steps, rows=None):
    """Store random steps of both layers and compare all that comes back with the list."""
    rows = rows or cache.select(sequences)
    new = torch.randn(len(sequences), 2 * 2, 2, steps, 3)  # (B, layers and k or v, K, T, E)
    expected = truth.extend(sequences, new)
    ends = rows.key_lengths(steps)
    lengths = [row.shape[2] for row in expected]
    for layer in range(2):
        found = rows.extend(layer, new[:, 2 * layer], new[:, 2 * layer + 1])
        if ends is None:
            assert {found[0].shape[2]} == set(lengths)
        else:
            assert ends.tolist() == lengths
        for part, tensor in enumerate(found):
            assert tensor.isfinite().all(), "a masked key must not be able to spread"
            for row, (length, truth_of_row) in enumerate(zip(lengths, expected, strict=True)):
                assert torch.equal(tensor[row, :, :length], truth_of_row[2 * layer + part])
    rows.advance(steps)
    assert rows.lengths.tolist() == lengths
    assert rows.length == max(lengths)
    return rows


def test_one_sequence_in_uneven_cuts(name):
    cache, truth = make_cache(name), Truth()
    number = cache.add()
    rows = None
    for steps in (5, 1, 1, 7, 3, 7):
        rows = feed(cache, truth, [number], steps, rows)


def test_rows_of_one_length_hold_no_padding_and_need_no_mask(name):
    cache, truth = make_cache(name), Truth()
    numbers = [cache.add() for _ in range(3)]
    rows = feed(cache, truth, numbers, 4)
    assert (rows.key_lengths(2) is None) == (name != "static")
    feed(cache, truth, numbers, 2, rows)


def test_rows_of_different_lengths_in_any_order(name):
    """Neighbouring slots are read through a view, others are copied; both must be the same numbers."""
    cache, truth = make_cache(name), Truth()
    a, b, c, d = (cache.add() for _ in range(4))
    for number, steps in ((a, 3), (b, 9), (c, 1), (d, 6)):
        feed(cache, truth, [number], steps)
    for numbers, steps in (([a, b, c, d], 2), ([d, b], 3), ([c, a, d], 1), ([b, c], 4), ([a, b, c, d], 1)):
        rows = feed(cache, truth, numbers, steps)
        feed(cache, truth, numbers, 1, rows)


def test_a_released_sequence_leaves_nothing_behind(name):
    """What a broken sequence left is NaN; 0 times NaN would reach the next one through a masked key."""
    cache, truth = make_cache(name), Truth()
    first, second = cache.add(), cache.add()
    feed(cache, truth, [second], 9)
    rows = cache.select([first])
    for layer in range(2):
        rows.extend(layer, *torch.full((2, 1, 2, 20, 3), torch.nan))
    rows.advance(20)
    cache.release(first)
    again = cache.add()
    assert again == first
    truth.steps.pop(first, None)
    feed(cache, truth, [again], 2)
    feed(cache, truth, [again, second], 1)


def test_padding_is_never_the_memory_of_another_sequence():
    """A broken sequence owns page 0; the short row beside a long one is padded with pages of its own."""
    cache, truth = make_cache("paged", slots=3), Truth()
    broken, short, long = cache.add(), cache.add(), cache.add()
    rows = cache.select([broken])
    for layer in range(2):
        rows.extend(layer, *torch.full((2, 1, 2, 3, 3), torch.nan))
    rows.advance(3)
    feed(cache, truth, [short], 2)
    feed(cache, truth, [long], 20)
    assert cache.pages.tables[broken] == [0]
    feed(cache, truth, [short, long], 1)


def test_memory_of_a_finished_sequence_is_used_again(name):
    """A hundred texts, three at a time, never need more than three."""
    cache = make_cache(name)
    held = []
    for turn in range(100):
        if len(held) == 3:
            cache.release(held.pop(turn % 3))
        held.append(cache.add())
        rows = cache.select([held[-1]])
        for layer in range(2):
            rows.extend(layer, *torch.zeros(2, 1, 2, 20, 3))
        rows.advance(20)
        if turn == 3:
            before = cache.bytes
    assert cache.bytes == before


def test_a_sequence_longer_than_max_length_is_refused(name):
    cache = make_cache(name)
    rows = feed(cache, Truth(), [cache.add()], 20)
    with pytest.raises(UserError, match=r"max_length \(24\) must be at least 25 to store 5 more steps"):
        rows.extend(0, *torch.zeros(2, 1, 2, 5, 3))
    assert not cache.fits(25)


def test_an_old_selection_is_refused_once_there_is_a_newer_one(name):
    cache = make_cache(name)
    number = cache.add()
    old = feed(cache, Truth(), [number], 2)
    cache.select([number])
    with pytest.raises(RuntimeError, match="newest selection"):
        old.extend(0, *torch.zeros(2, 1, 2, 1, 3))


@pytest.mark.parametrize(
    ("k", "words"),
    [
        (torch.zeros(2, 2, 1, 3), "2 rows"),
        (torch.zeros(1, 2, 1, 3, dtype=torch.bfloat16), "torch.bfloat16"),
        (torch.zeros(1, 2, 1, 3, requires_grad=True), "inference_mode"),
    ],
)
def test_keys_that_do_not_belong_here_are_refused(name, k, words):
    cache = make_cache(name)
    rows = cache.select([cache.add()])
    with pytest.raises(ValueError, match=words):
        rows.extend(0, k, k)


def test_more_sequences_than_slots_are_refused():
    cache = make_cache("contiguous", slots=2)
    assert [cache.add(), cache.add()] == [0, 1]
    assert not cache.fits(1)
    with pytest.raises(UserError, match="All 2 sequences"):
        cache.add()


def test_a_paged_cache_that_is_full_refuses_and_goes_on():
    cache, truth = PagedCache(**SIZES, page_size=4, num_pages=3), Truth()
    first, second = cache.add(), cache.add()
    feed(cache, truth, [first], 8)
    rows = cache.select([second])
    with pytest.raises(UserError, match=r"cache.num_pages \(3\)"):
        rows.extend(0, *torch.zeros(2, 1, 2, 5, 3))
    cache.release(first)
    feed(cache, truth, [second], 5, rows)


def test_a_sequence_that_cannot_be_promised_room_is_not_added():
    cache = PagedCache(**SIZES, page_size=4, num_pages=3)
    with pytest.raises(UserError, match=r"cache.num_pages \(3\)"):
        cache.add(13)
    assert cache.add(12) == 0


@pytest.mark.parametrize("size", ["num_layers", "max_length", "slots"])
def test_a_size_below_one_is_refused(name, size):
    with pytest.raises(UserError, match=rf"{size} \(0\)"):
        make_cache(name, **{"slots": 1, size: 0} if size == "slots" else {size: 0})
