"""The memory of a cache is 2 L K E numbers per token, in the formula and in the caches themselves."""

import pytest
import torch

from src.cache.contiguous import ContiguousCache
from src.cache.paged import PagedCache
from src.cache.size import EXAMPLES, bytes_per_token

SIZES = {"num_layers": 3, "num_kv_heads": 2, "head_width": 5, "max_length": 32}


def test_the_known_models_take_what_their_reports_say():
    per_token = [example.per_token for example in EXAMPLES]
    assert per_token == [36_864, 327_680, 2_621_440, 0]


def test_the_known_models_at_their_context_lengths():
    """GPT-2 36 MiB at 1,024; Llama-3 70B 2.5 GiB at 8,192 and 40 GiB at 131,072; a recurrent state never grows."""
    gpt2, llama, without_gqa, recurrent = EXAMPLES
    assert gpt2.at(1024) == 36 * 2**20
    assert llama.at(8192) == 2.5 * 2**30
    assert llama.at(131_072) == 40 * 2**30
    assert without_gqa.at(8192) == 8 * llama.at(8192)
    assert recurrent.at(1) == recurrent.at(131_072) == 2048


def test_a_shape_on_the_meta_device_has_the_bytes_of_the_formula():
    """Llama-3 70B at 8,192 tokens: 2.5 GiB that no test could allocate."""
    cache = ContiguousCache(
        num_layers=80, num_kv_heads=8, head_width=128, max_length=8192, dtype=torch.bfloat16, device="meta"
    )
    assert cache.bytes == EXAMPLES[1].at(8192)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_contiguous_cache_holds_all_slots_at_full_length(dtype):
    cache = ContiguousCache(**SIZES, slots=4, dtype=dtype)
    assert cache.bytes == 4 * 32 * bytes_per_token(3, 2, 5, dtype.itemsize)
    assert cache.select([cache.add(), cache.add()]).bytes == cache.bytes // 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_paged_cache_holds_whole_pages_and_no_more(dtype):
    """Nine steps in pages of 4 are three pages, and 2 of the 4 pages that there are belong to no one else."""
    cache = PagedCache(**SIZES, dtype=dtype, page_size=4, num_pages=4)
    rows = cache.select([cache.add()])
    for layer in range(3):
        rows.extend(layer, *torch.zeros(2, 1, 2, 9, 5, dtype=dtype))
    page = 4 * bytes_per_token(3, 2, 5, dtype.itemsize)
    assert cache.bytes == 4 * page
    assert rows.bytes == 3 * page
