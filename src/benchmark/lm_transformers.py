"""`transformers`' own Llama under its own Trainer, alone in a process: `python lm_transformers.py OPTIONS`.

It imports nothing of this project, so it runs with torch's own environment. OPTIONS is a JSON object (see `main`).
Training is one endless `train()` that stops at a step's end until it is told to go on; see `Rounds`.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset


class Rounds:
    """Cuts an endless training into rounds: each line on standard input buys `steps` steps, answered by their seconds.

    Whatever the loop does between steps counts, since the clock runs from the command to the end of the last step.
    """

    def __init__(self, *, steps: int) -> None:
        self.steps, self.left, self.started = steps, 0, 0.0

    def wait(self) -> None:
        """Block until the next round is asked for; no more commands end the process."""
        if not sys.stdin.readline():
            sys.exit(0)
        self.left, self.started = self.steps, time.perf_counter()

    def step_ended(self) -> None:
        self.left -= 1
        if self.left == 0:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            say(seconds=time.perf_counter() - self.started)
            self.wait()


def say(**answer: Any) -> None:
    """One JSON line to whoever asked."""
    print(json.dumps(answer), file=sys.__stdout__, flush=True)


class RandomTokens(Dataset):
    """Windows over one random text; `make` gives an item its form. Longer than any benchmark will read."""

    def __init__(self, make: Callable[[Tensor], Any], *, vocab_size: int, length: int) -> None:
        self.tokens = torch.randint(0, vocab_size, (100_000 + length,), generator=torch.Generator().manual_seed(0))
        self.make, self.length = make, length

    def __len__(self) -> int:
        return 1_000_000

    def __getitem__(self, index: int) -> Any:
        start = index % 100_000
        return self.make(self.tokens[start : start + self.length])


def make_model(sizes: dict[str, int]) -> Any:
    """A Llama of the given sizes: tied embeddings, as many key-value heads as heads, no cache, fp32 weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=sizes["vocab_size"],
        hidden_size=sizes["width"],
        num_hidden_layers=sizes["num_layers"],
        num_attention_heads=sizes["num_heads"],
        num_key_value_heads=sizes["num_heads"],
        intermediate_size=sizes["feed_forward_width"],
        max_position_embeddings=sizes["max_length"],
        tie_word_embeddings=True,
        use_cache=False,
    )
    return LlamaForCausalLM(config)


def main() -> None:
    """OPTIONS: sizes (see `make_model`), batch_size, steps (of a round), threads, bf16, compile, seed."""
    options = json.loads(sys.argv[1])
    sys.stdout = sys.stderr  # answers alone go to standard output, whatever a library prints
    torch.set_num_threads(options["threads"])
    torch.manual_seed(options["seed"])
    from transformers import Trainer, TrainerCallback, TrainingArguments

    rounds = Rounds(steps=options["steps"])

    class Pause(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            rounds.wait()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            rounds.step_ended()

    sizes = options["sizes"]
    data = RandomTokens(
        lambda tokens: {"input_ids": tokens, "labels": tokens},
        vocab_size=sizes["vocab_size"],
        length=sizes["max_length"],
    )
    model = make_model(sizes)
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=options["batch_size"],
            max_steps=len(data) // options["batch_size"],
            bf16=options["bf16"],
            torch_compile=options["compile"],
            use_cpu=not torch.cuda.is_available(),
            dataloader_pin_memory=torch.cuda.is_available(),
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=options["seed"],
        )
        say(parameters=sum(parameter.numel() for parameter in model.parameters()))
        Trainer(model=model, args=settings, train_dataset=data, callbacks=[Pause()]).train()


if __name__ == "__main__":
    main()
