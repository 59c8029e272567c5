"""Text for prompts: the story of `python -m src.generate`."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch

from src.cache.contiguous import ContiguousCache
from src.cache.protocol import Cache
from src.check.compiler import check_compiler
from src.check.config import check_part, check_settings
from src.check.signatures import settings_of
from src.check.targets import check_targets
from src.errors import UserError
from src.generation.compiled import CompiledStep
from src.generation.generator import Generator, Step
from src.generation.graph import GraphedStep
from src.generation.memory import make_cache
from src.generation.sampling import Sampler
from src.launch.build import construct
from src.launch.completions import read_prompts, show_completions, show_pieces
from src.launch.text_models import TextModel, open_text_model
from src.model.transformer import Transformer

Positive = Annotated[int, ">= 1"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True, kw_only=True)
class Options:
    """The keys of conf/generate.yaml.

    Raises:
        UserError: two values that do not go together.
    """

    run: str | None
    prompt: str | None
    file: str | None
    max_new_tokens: Positive
    stop: str | list[str]
    temperature: float
    top_k: int | None
    top_p: float | None
    min_p: float | None
    repetition_penalty: float
    seed: int
    batch_size: Positive
    prefill_chunk: Positive | None
    max_length: Positive | None
    format: Literal["text", "json"]
    stream: bool | None
    device: Literal["auto", "cpu", "cuda"]
    dtype: Literal["fp32", "bf16"]
    compile: bool
    cache: Callable[..., Cache] | None

    def __post_init__(self) -> None:
        if self.prompt is not None and self.file is not None:
            raise UserError("prompt and file are both given; choose one.")
        if self.stream and (self.prompt is None or self.format != "text"):
            raise UserError(
                "stream (true) shows one text while it is made: give prompt= and format=text, or leave it out."
            )
        if self.device == "cuda" and not torch.cuda.is_available():
            raise UserError("device (cuda) is not there; choose device=auto or device=cpu.")
        if "" in self.stops:
            raise UserError(f"stop ({self.stop}) must not hold an empty text, which would end every text at once.")

    @property
    def stops(self) -> list[str]:
        return [self.stop] if isinstance(self.stop, str) else self.stop

    @property
    def streams(self) -> bool:
        """Whether the text is shown as it is made."""
        return self.stream if self.stream is not None else self.prompt is not None and self.format == "text"


def read_options(values: dict[str, Any]) -> Options:
    """The checked options of a composed config.

    Raises:
        UserError: a value of another type or out of range, or a cache that is none.
    """
    check_settings(values, settings_of(Options), key="", owner="python -m src.generate", filled=set())
    if values["cache"] is not None:
        check_targets({"cache": values["cache"]})
        if not values["cache"].get("_target_", "").startswith("src.cache."):
            raise UserError(f"cache ({values['cache']}) must be one of conf/cache: none, contiguous or paged.")
        check_part(values["cache"], key="cache")
    return Options(**values | {"cache": values["cache"] and construct(values, "cache")})


def generate(options: Options) -> None:
    """Print every text: as it is made, or in the order of the prompts."""
    names = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")
    sampler = Sampler(**{name: getattr(options, name) for name in names})
    device = torch.device("cuda" if options.device != "cpu" and torch.cuda.is_available() else "cpu")
    model = open_text_model(options.run, device=device, dtype=DTYPES[options.dtype])
    generator = make_generator(model, sampler, options)
    prompts = read_prompts(options.prompt, options.file)
    pieces = generator.stream(prompts)
    done = show_pieces(pieces, options.prompt or "") if options.streams else show_completions(pieces, options.format)
    cut = sum(completion.reason == "context" for completion in done)
    if cut:
        print(f"{cut} of {len(done)} texts ended with the context of {generator.max_length} tokens.", file=sys.stderr)
    learned = model.trained_length
    beyond = sum(completion.length > learned for completion in done) if learned is not None else 0
    if beyond:
        print(
            f"{beyond} of {len(done)} texts are longer than the {learned} tokens that the model learned from; behind "
            f"those it guesses. max_length={learned} ends them there.",
            file=sys.stderr,
        )


def make_generator(model: TextModel, sampler: Sampler, options: Options) -> Generator:
    """The generator with its cache, which has room for as many texts as are made at a time."""
    network = model.network
    max_length = network.max_length if options.max_length is None else options.max_length
    if max_length > network.max_length:
        raise UserError(f"max_length ({max_length}) must be at most {network.max_length}, all that this model can.")
    slots = options.batch_size if options.prompt is None else 1
    cache = options.cache and make_cache(network, options.cache, slots=slots, max_length=max_length)
    return Generator(
        network,
        codec=model.codec,
        cache=cache,
        max_length=max_length,
        sampler=sampler,
        max_new_tokens=options.max_new_tokens,
        stop=options.stops,
        batch_size=slots,
        prefill_chunk=options.prefill_chunk,
        seed=options.seed,
        step=make_step(network, cache, fuse=options.compile),
    )


def make_step(network: Transformer, cache: Cache | None, *, fuse: bool) -> Step | None:
    """How a decode step is run; None for the plain call."""
    is_static = isinstance(cache, ContiguousCache) and cache.static
    on_gpu = network.embedding.weight.is_cuda
    if fuse and not (is_static if on_gpu else isinstance(cache, ContiguousCache)):
        needed = "cache=contiguous cache.static=true" if on_gpu else "cache=contiguous"
        raise UserError(f"compile (true) needs {needed}, whose keys stay in place; add it, or leave compile out.")
    if fuse:
        check_compiler("compile (true)")
    if is_static and on_gpu:
        return GraphedStep(network, fuse=fuse)
    return CompiledStep(network) if fuse else None
