"""Opens what text can be generated from: a run of a language model, or a Hugging Face Llama folder."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from src.attention import auto
from src.data.bpe import Bpe
from src.errors import UserError
from src.generation.codec import Codec, bpe_codec
from src.launch.finished import load_network, open_run
from src.model.llama import load_llama
from src.model.transformer import Transformer


class TextModel(NamedTuple):
    """A network in evaluation mode, how it reads and writes text, and the tokens of the texts it learned from."""

    network: Transformer
    codec: Codec
    trained_length: int | None


def open_text_model(name: str | None, *, device: torch.device, dtype: torch.dtype) -> TextModel:
    """The model of a run's best checkpoint, or of a folder with config.json, on `device` in `dtype`.

    Raises:
        UserError: no such run or folder, or it is no language model.
    """
    if name is not None and (Path(name) / "config.json").is_file() and not (Path(name) / "status.json").is_file():
        codec = llama_codec(Path(name))
        model = TextModel(load_llama(name, dtype=dtype, attention=auto.attend), codec, None)
    else:
        model = open_own(name)
    return model._replace(network=model.network.to(device=device, dtype=dtype).eval())


def open_own(name: str | None) -> TextModel:
    """A run of ours."""
    run, config = open_run(name)
    target = config["model"]["_target_"]
    if target != f"{Transformer.__module__}.{Transformer.__qualname__}":
        raise UserError(
            f"run ({run.path}) cannot generate text: it is a {target}. Name a run that was trained with "
            "task=language_model and a transformer."
        )
    network = load_network(run, config)
    assert isinstance(network, Transformer)
    trained_length = config.get("data", {}).get("max_length")
    return TextModel(network, bpe_codec(Bpe.load(run.path / Bpe.FILE)), trained_length)


def llama_codec(folder: Path) -> Codec:
    """The folder's own tokenizer, and the opening and ending tokens that its configs name.

    Raises:
        UserError: there is no tokenizer.json.
    """
    from tokenizers import Tokenizer

    if not (folder / "tokenizer.json").is_file():
        raise UserError(
            f"run ({folder}) holds no tokenizer.json, so text cannot become tokens; copy the model's own there."
        )
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    settings = read_settings(folder)
    start, ends = settings.get("bos_token_id"), settings.get("eos_token_id")
    return Codec(
        opened_with(start, lambda text: tokenizer.encode(text).ids),
        lambda tokens: tokenizer.decode(list(tokens)),
        frozenset(ends if isinstance(ends, list) else [] if ends is None else [ends]),
    )


def read_settings(folder: Path) -> dict[str, Any]:
    """config.json, and what generation_config.json says instead."""
    settings: dict[str, Any] = {}
    for name in ("config.json", "generation_config.json"):
        if (folder / name).is_file():
            settings |= json.loads((folder / name).read_text(encoding="utf-8"))
    return settings


def opened_with(start: int | None, encode: Callable[[str], list[int]]) -> Callable[[str], list[int]]:
    """`encode` with the opening token in front, where the tokenizer does not put it there itself."""

    def opened(text: str) -> list[int]:
        ids = encode(text)
        return ids if start is None or ids[:1] == [start] else [start, *ids]

    return opened
