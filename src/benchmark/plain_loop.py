"""The chapter's training loop as its reader writes it, alone in a process: `python plain_loop.py FILE OPTIONS`.

It imports nothing of this project, so it runs with torch's own environment. FILE is an .npz of reviews, OPTIONS a
JSON object (see `main`). Every line on standard input is a JSON command, answered by one JSON line.
"""

import json
import sys
import time
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

PHASES = ("data", "forward", "backward", "step")


class Stopwatch:
    """Seconds per phase of the training step; each lap counts from the end of the one before."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self.last = time.perf_counter()

    def lap(self, phase: str) -> None:
        now = time.perf_counter()
        self.seconds[phase] += now - self.last
        self.last = now


class ReviewDataset(Dataset):
    """Item by item: one review padded to max_length (T,), and its label."""

    def __init__(self, ids: np.ndarray, lengths: np.ndarray, labels: np.ndarray) -> None:
        self.reviews = [row[:length].tolist() for row, length in zip(ids, lengths, strict=True)]
        self.labels = labels.tolist()
        self.max_length = ids.shape[1]

    def __len__(self) -> int:
        return len(self.reviews)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        review = self.reviews[index]
        padded = review + [0] * (self.max_length - len(review))
        return torch.tensor(padded), torch.tensor(self.labels[index])


class PlainBiLSTM(nn.Module):
    """Embedding, bidirectional LSTM, mean over all T steps, dropout, linear: (B, T) ids -> (B, 2) logits."""

    def __init__(self, *, vocab_size: int, width: int, hidden: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, width, padding_idx=0)
        self.lstm = nn.LSTM(width, hidden, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(0.4)
        self.head = nn.Linear(2 * hidden, 2)

    def forward(self, ids: Tensor) -> Tensor:
        outputs, _ = self.lstm(self.embedding(ids))
        return self.head(self.dropout(outputs.mean(1)))


def autocast(bf16: bool) -> Any:
    return torch.autocast("cpu", dtype=torch.bfloat16) if bf16 else nullcontext()


def train_epoch(model: nn.Module, loader: DataLoader, optimizer: torch.optim.Optimizer, *, bf16: bool) -> dict:
    """One pass over the loader; seconds per phase."""
    model.train()
    loss_function = nn.CrossEntropyLoss()
    watch = Stopwatch()
    for ids, labels in loader:
        watch.lap("data")
        with autocast(bf16):
            loss = loss_function(model(ids), labels)
        watch.lap("forward")
        optimizer.zero_grad()
        loss.backward()
        watch.lap("backward")
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        watch.lap("step")
    return watch.seconds


@torch.no_grad()
def evaluate(model: nn.Module, loader: DataLoader, *, bf16: bool) -> float:
    """Mean cross-entropy over the loader's reviews."""
    model.eval()
    total, count = 0.0, 0
    for ids, labels in loader:
        with autocast(bf16):
            logits = model(ids)
        total += nn.functional.cross_entropy(logits.float(), labels, reduction="sum").item()
        count += len(labels)
    return total / count


class Session:
    """The loop behind the commands; the model is made anew by `fit` and kept between rounds of `train`."""

    def __init__(self, data: dict[str, ReviewDataset], options: dict[str, Any]) -> None:
        self.data = data
        self.options = options
        self.start()

    def start(self) -> None:
        torch.manual_seed(self.options["seed"])
        self.model = PlainBiLSTM(**self.options["sizes"])
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3, weight_decay=1e-5)

    def train(self, rows: list[int]) -> dict[str, float]:
        """Seconds per phase of one pass over some training reviews, shuffled."""
        loader = DataLoader(Subset(self.data["train"], rows), batch_size=self.options["batch_size"], shuffle=True)
        return train_epoch(self.model, loader, self.optimizer, bf16=self.options["bf16"])

    def fit(self, epochs: int) -> float:
        """Validation loss after some epochs over all training reviews, from fresh weights."""
        self.start()
        for _ in range(epochs):
            self.train(list(range(len(self.data["train"]))))
        return evaluate(self.model, DataLoader(self.data["val"], batch_size=256), bf16=self.options["bf16"])


def main() -> None:
    """OPTIONS: seed, threads, batch_size, bf16, sizes (of PlainBiLSTM). Commands: {"train": rows}, {"fit": epochs}."""
    arrays, options = np.load(sys.argv[1]), json.loads(sys.argv[2])
    torch.set_num_threads(options["threads"])
    parts = ("ids", "lengths", "labels")
    data = {split: ReviewDataset(*(arrays[f"{split}_{part}"] for part in parts)) for split in ("train", "val")}
    session = Session(data, options)
    for line in sys.stdin:
        ((name, value),) = json.loads(line).items()
        answer = session.train(value) if name == "train" else session.fit(value)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
