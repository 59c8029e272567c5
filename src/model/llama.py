"""Hugging Face Llama folders: read into our Transformer, and written from it.

The rotary convention is theirs, so tensors move as they are; only q, k, v, three tensors there, are rows of one matrix
here, and so are gate and up.
"""

import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from src.errors import UserError
from src.model.llama_config import config_of, options_of
from src.model.llama_files import locate, read_tensor, write_weights
from src.model.transformer import Transformer

# Tables that older versions stored beside the weights; they follow from the config.
TABLES = "rotary_emb.inv_freq"


@torch.no_grad()
def load_llama(folder: str | Path, *, dtype: torch.dtype = torch.float32, **overrides: Any) -> Transformer:
    """The network of a folder with config.json and safetensors, in `dtype` on the CPU; `overrides` win over the config.

    One tensor beyond the network is in memory at a time.

    Raises:
        UserError: not such a folder, a config that this network is not, or weights that do not match it.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} holds no config.json; name the folder of a Hugging Face Llama.")
    options = options_of(json.loads((folder / "config.json").read_text()))
    with torch.device("meta"):
        network = Transformer(**{**options, **overrides}).to(dtype)
    files = locate(folder)
    check_names(network, set(files))
    network.to_empty(device="cpu")
    network.rotary.reset()
    for name, weight in parts_of(network):
        stored = read_tensor(files[name], name)
        if stored.shape != weight.shape:
            raise UserError(f"{name} {tuple(stored.shape)} must be {tuple(weight.shape)} by config.json.")
        weight.copy_(stored)
    return network


def save_llama(
    network: Transformer,
    folder: str | Path,
    *,
    end_id: int | None = None,
    tokenizer: str | Path | None = None,
    copies: Iterable[str | Path] = (),
    max_shard_bytes: int = 5_000_000_000,
) -> None:
    """Write config.json and the weights, in the type they have, into a new or empty `folder`.

    end_id: the token that ends a text; None writes that there is none. tokenizer: a tokenizer.json, which is copied and
    made loadable by AutoTokenizer. copies: further files to copy, such as a generation_config.json.

    Raises:
        UserError: the folder holds files, or the network has a part that no Llama has.
    """
    folder = Path(folder)
    config = config_of(network, end_id=end_id)
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} must be new or empty: what is there would mix with what is written.")
    folder.mkdir(parents=True, exist_ok=True)
    write_weights(folder, parts_of(network), max_shard_bytes=max_shard_bytes)
    if tokenizer is not None:
        shutil.copyfile(tokenizer, folder / "tokenizer.json")
        # Without it, transformers would put the splitting rules of Llama's own tokenizer in the place of these.
        write_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"})
    for copy in copies:
        shutil.copy(copy, folder)
    # Last, so that a folder with a config is whole.
    write_json(folder / "config.json", config)


def write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")


def parts_of(network: Transformer) -> Iterator[tuple[str, Tensor]]:
    """Hugging Face's name of every tensor and the rows of our weights that are it: a view, to read or to fill."""
    yield "model.embed_tokens.weight", network.embedding.weight
    for number, block in enumerate(network.blocks):
        q, k, v = block.attention.qkv.weight.split(block.attention.sizes)
        gate, up = block.feed_forward.gate_up.weight.chunk(2)
        parts = {
            "self_attn.q_proj": q,
            "self_attn.k_proj": k,
            "self_attn.v_proj": v,
            "self_attn.o_proj": block.attention.out.weight,
            "mlp.gate_proj": gate,
            "mlp.up_proj": up,
            "mlp.down_proj": block.feed_forward.down.weight,
            "input_layernorm": block.attention_norm.weight,
            "post_attention_layernorm": block.feed_forward_norm.weight,
        }
        yield from ((f"model.layers.{number}.{name}.weight", part) for name, part in parts.items())
    yield "model.norm.weight", network.norm.weight
    if network.head is not None:
        yield "lm_head.weight", network.head.weight


def check_names(network: Transformer, stored: set[str]) -> None:
    """Raises UserError if a weight is not stored, or what is stored is no weight of this network."""
    wanted = {name for name, _ in parts_of(network)}
    if wanted - stored:
        raise UserError(f"The weight files lack {sorted(wanted - stored)[0]}, which config.json asks for.")
    # A tied head may be stored a second time.
    extra = sorted(name for name in stored - wanted if not name.endswith(TABLES) and name != "lm_head.weight")
    if extra:
        raise UserError(f"{extra[0]} in the weight files is no weight of the network that config.json describes.")
