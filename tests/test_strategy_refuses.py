"""What a strategy cannot do, it says in a sentence, also where no config was checked before."""

from importlib.util import find_spec

import pytest

from src.errors import UserError
from src.model.bilstm import BiLSTM
from src.model.tensor_parallel import check_divisible, split_matrices
from src.model.transformer import Transformer
from src.strategy.deepspeed import DeepSpeed
from src.strategy.sharded import mesh_sizes

SIZES = {"vocab_size": 40, "width": 16, "num_layers": 1, "num_heads": 4, "feed_forward_width": 24}


def test_ranks_are_laid_out_as_replicas_of_shards_of_split_matrices():
    assert mesh_sizes(8, shard=None, tensor=1) == (1, 8, 1)
    assert mesh_sizes(8, shard=4, tensor=1) == (2, 4, 1)
    assert mesh_sizes(8, shard=2, tensor=2) == (2, 2, 2)


@pytest.mark.parametrize(
    ("shard", "tensor", "key"), [(None, 3, r"tensor_parallel_size \(3\)"), (3, 1, r"shard_size \(3\)")]
)
def test_ranks_that_make_no_mesh_are_refused(shard, tensor, key):
    with pytest.raises(UserError, match=rf"trainer.strategy.{key} must divide"):
        mesh_sizes(8, shard=shard, tensor=tensor)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"num_kv_heads": 1}, r"model.num_kv_heads \(1\)"),
        ({"feed_forward_width": 25}, r"model.feed_forward_width \(25\)"),
        ({"vocab_size": 41}, r"model.vocab_size \(41\)"),
    ],
)
def test_sizes_that_cannot_be_divided_are_named(change, named):
    with pytest.raises(UserError, match=rf"{named} must be a multiple of .*tensor_parallel_size \(2\)"):
        check_divisible(Transformer(**SIZES | change), 2)


def test_a_network_without_heads_is_not_split():
    with pytest.raises(UserError, match=r"BiLSTM.* has no heads"):
        split_matrices(BiLSTM(vocab_size=40, width=8, hidden=8), None)


@pytest.mark.skipif(find_spec("deepspeed") is not None, reason="deepspeed is installed")
def test_deepspeed_is_named_where_it_is_missing():
    with pytest.raises(UserError, match=r"needs the package deepspeed.*strategy=fsdp"):
        DeepSpeed(stage=2)
