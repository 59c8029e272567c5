"""Text that the model writes at each validation: the quickest way to see what a loss of 4.2 means."""

import os
from pathlib import Path
from typing import Annotated, Any

import lightning
from lightning.pytorch.trainer.states import TrainerFn

from src.cache.paged import PagedCache
from src.data.texts import Texts
from src.errors import UserError
from src.generation.codec import bpe_codec
from src.generation.generator import Generator
from src.generation.memory import make_cache
from src.generation.sampling import Sampler
from src.model.transformer import Transformer

SHOWN = 160  # characters of the line on the terminal


class Samples(lightning.Callback):
    """Appends one text per prompt to `<folder>/samples.txt` after every validation, and prints the first in one line.

    Args:
        folder: the run folder.
        prompts: what the texts begin with; the same random numbers each time, so that only the weights differ.
        max_new_tokens: of each text.
        temperature, top_p: see src.generation.sampling.Sampler.
        seed: of the random numbers, which are not those of the training.

    Raises:
        UserError: when training starts: the network is no transformer language model, or a prompt fills its context.
    """

    def __init__(
        self,
        *,
        folder: str,
        prompts: list[str],
        max_new_tokens: Annotated[int, ">= 1"] = 60,
        temperature: Annotated[float, ">= 0"] = 0.8,
        top_p: Annotated[float | None, "> 0", "<= 1"] = None,
        seed: int = 0,
    ) -> None:
        self.path = Path(folder) / "samples.txt"
        self.prompts = list(prompts)
        if not self.prompts:
            raise UserError("callbacks.samples.prompts ([]) must hold at least one prompt.")
        self.max_new_tokens = max_new_tokens
        self.sampler = Sampler(temperature=temperature, top_p=top_p)
        self.seed = seed
        self.written = 0  # bytes of the file when the run began

    def state_dict(self) -> dict[str, Any]:
        return {"written": self.path.stat().st_size if self.path.exists() else 0}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.written = state_dict["written"]

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Forget what a killed run wrote behind the place where this one begins."""
        if trainer.is_global_zero and self.path.exists():
            os.truncate(self.path, self.written)

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        generator = self.make_generator(trainer, pl_module)
        for number, prompt in enumerate(self.prompts):
            generator.open(number, prompt)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        fitting = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        if not fitting or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        generator = self.make_generator(trainer, pl_module)
        was_training = generator.network.training
        generator.network.eval()
        with trainer.precision_plugin.forward_context():
            generator.cache = make_cache(
                generator.network, PagedCache, slots=len(self.prompts), max_length=generator.max_length
            )
            texts = [done.prompt + done.text for done in generator.complete(self.prompts)]
        generator.network.train(was_training)
        if not trainer.is_global_zero:  # it wrote the same, because each rank may hold a part of the weights only
            return
        with self.path.open("a", encoding="utf-8") as file:
            file.write("".join(f"== step {trainer.global_step}\n{text}\n\n" for text in texts))
        line = " ".join(texts[0].split())
        print(f"sample  {line if len(line) <= SHOWN else line[: SHOWN - 1] + chr(0x2026)}", flush=True)

    def make_generator(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> Generator:
        """Over the weights as they are now, without a cache."""
        network, data = pl_module.network, trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(network, Transformer) or not isinstance(data, Texts):
            raise UserError(
                f"callbacks.samples needs a transformer that learns to write text, not a {type(network).__name__} on "
                f"{type(data).__name__}; leave it out, or choose model=transformer_tiny."
            )
        return Generator(
            network,
            codec=bpe_codec(data.tokenizer),
            cache=None,
            max_length=network.max_length,
            sampler=self.sampler,
            max_new_tokens=self.max_new_tokens,
            batch_size=len(self.prompts),
            seed=self.seed,
        )
