"""Between the config.json of a Hugging Face Llama folder and the options of our Transformer."""

from typing import Any

from src.errors import UserError
from src.model.rotary import Llama3Scaling
from src.model.transformer import Transformer

# Our option: the key in config.json.
SIZES = {
    "vocab_size": "vocab_size",
    "width": "hidden_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "feed_forward_width": "intermediate_size",
}
SCALING = {
    "factor": "factor",
    "low_frequency_factor": "low_freq_factor",
    "high_frequency_factor": "high_freq_factor",
    "original_max_length": "original_max_position_embeddings",
}
# Keys with one value that our network computes; where a key is absent, transformers takes the first one.
ONLY: dict[str, tuple[Any, ...]] = {
    "model_type": ("llama",),
    "hidden_act": ("silu",),
    "attention_bias": (False,),
    "mlp_bias": (False,),
    "partial_rotary_factor": (1.0, None),
    "quantization_config": (None,),
}


def options_of(config: dict[str, Any]) -> dict[str, Any]:
    """The options of the Transformer that a config.json describes; absent keys mean what they mean in transformers.

    Raises:
        UserError: the config asks for what this network is not, or lacks a size.
    """
    if config.get("architectures") not in (None, ["LlamaForCausalLM"]):
        raise UserError(f"architectures ({config['architectures']}) must be ['LlamaForCausalLM'] to be read.")
    for key, legal in ONLY.items():
        if config.get(key, legal[0]) not in legal:
            raise UserError(f"{key} ({config[key]}) must be {legal[0]}: this network has no other kind.")
    missing = [key for key in SIZES.values() if key not in config]
    if missing:
        raise UserError(f"config.json lacks {', '.join(missing)}.")
    rotary = rotary_of(config)
    return {option: config[key] for option, key in SIZES.items()} | {
        "num_kv_heads": config.get("num_key_value_heads"),
        "head_width": config.get("head_dim"),
        "max_length": config.get("max_position_embeddings", 2048),
        "rotary_base": float(rotary.get("rope_theta", 10000.0)),
        "rotary_scaling": scaling_of(rotary),
        "norm_epsilon": config.get("rms_norm_eps", 1e-6),
        "tie_embeddings": config.get("tie_word_embeddings", False),
        "attention_dropout": config.get("attention_dropout") or 0.0,
    }


def rotary_of(config: dict[str, Any]) -> dict[str, Any]:
    """The settings of the rotary embedding in the form of transformers 5, `rope_parameters`, whoever wrote them.

    Before, `rope_theta` stood by itself and `rope_scaling` was null where nothing is scaled.
    """
    found = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    if config.get("rope_theta") is not None:
        found.setdefault("rope_theta", config["rope_theta"])
    found.setdefault("rope_type", found.pop("type", "default"))
    if found.get("partial_rotary_factor", 1.0) != 1.0:
        raise UserError(f"partial_rotary_factor ({found['partial_rotary_factor']}) must be 1.0: whole heads turn here.")
    if found["rope_type"] == "llama3":
        # transformers 5 takes the length that the config allows where the trained one is not given.
        found.setdefault(SCALING["original_max_length"], config.get("max_position_embeddings", 2048))
    return found


def scaling_of(rotary: dict[str, Any]) -> Llama3Scaling | None:
    kind = rotary["rope_type"]
    if kind == "default":
        return None
    if kind != "llama3":
        raise UserError(f"rope_type ({kind}) must be default or llama3.")
    missing = [key for key in SCALING.values() if key not in rotary]
    if missing:
        raise UserError(f"rope_type (llama3) also needs {', '.join(missing)} in config.json.")
    return {option: rotary[key] for option, key in SCALING.items()}  # type: ignore[return-value]


def config_of(network: Transformer, *, end_id: int | None) -> dict[str, Any]:
    """The config.json of a network, in the keys that transformers 4 and 5 both read.

    Raises:
        UserError: the network has a part that no Llama has.
    """
    first = next(iter(network.blocks))
    if first.attention.q_norm is not None:
        raise UserError("qk_norm (true) must be false to be written as a Llama, which has no such norm.")
    if network.window is not None:
        raise UserError(f"window ({network.window}) must be null to be written as a Llama, which has no window.")
    vocab_size, width = network.embedding.weight.shape
    scaling = network.rotary.scaling
    written = None if scaling is None else {"rope_type": "llama3"} | {SCALING[k]: v for k, v in scaling.items()}
    dtype = str(network.embedding.weight.dtype).removeprefix("torch.")
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": vocab_size,
        "hidden_size": width,
        "intermediate_size": first.feed_forward.down.in_features,
        "num_hidden_layers": len(network.blocks),
        "num_attention_heads": network.num_heads,
        "num_key_value_heads": network.num_kv_heads,
        "head_dim": network.head_width,
        "hidden_act": "silu",
        "max_position_embeddings": network.max_length,
        "initializer_range": 0.02,
        "rms_norm_eps": network.norm.epsilon,
        "rope_theta": network.rotary.base,
        "rope_scaling": written,
        "tie_word_embeddings": network.head is None,
        "attention_bias": False,
        "mlp_bias": False,
        "attention_dropout": first.attention.dropout,
        # Left out, these would mean 1 and 2, and generation would end at an ordinary token.
        "bos_token_id": end_id,
        "eos_token_id": end_id,
        "torch_dtype": dtype,
    }
