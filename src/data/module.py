"""Reviews with labels as a LightningDataModule; outside a trainer call `prepare_data()` and `setup()` first."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal

import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from src.data import corpus
from src.data.batch import Batch
from src.data.encode import Encoder
from src.data.sampler import BatchOrder, SortedOrder
from src.data.table import Source
from src.data.views import LabelledView, word_ids
from src.data.vocabulary import Vocabulary
from src.errors import UserError


class Reviews(LightningDataModule):
    """Batches of labelled reviews from any source a reader finds.

    All that can be wrong with the data is found by `setup`, which raises UserError. Afterwards `vocabulary`,
    `label_names`, `fingerprint` (plain JSON) and `encode` can be used; the knobs are described in conf/data.
    """

    vocabulary: Vocabulary
    fingerprint: dict[str, Any]

    def __init__(
        self,
        *,
        path: str | None,
        reader: Callable[..., Source],
        split: Literal["holdout", "official"] = "holdout",
        text_column: str = "text",
        label_column: str = "label",
        label_names: list[str],
        vocab_size: Annotated[int, ">= 3"] = 5000,
        max_length: Annotated[int, ">= 1"] = 200,
        head: Annotated[int | None, ">= 0"] = None,
        batch_size: Annotated[int, ">= 1"] = 64,
        eval_batch_size: Annotated[int, ">= 1"] = 256,
        bucket_batches: Annotated[int, ">= 0"] = 50,
        pad_to_max_length: bool = False,
        num_workers: Annotated[int, ">= 0"] = 0,
        cache_dir: str,
        split_seed: Annotated[int, ">= 0"] = 0,
        seed: Annotated[int, ">= 0"] = 0,
        overlap: Literal["keep", "drop", "error"] = "keep",
    ) -> None:
        super().__init__()
        self.path, self.reader, self.split, self.overlap = path, reader, split, overlap
        self.text_column, self.label_column, self.label_names = text_column, label_column, list(label_names)
        self.vocab_size, self.max_length, self.head = vocab_size, max_length, head
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.bucket_batches, self.pad_to_max_length, self.num_workers = bucket_batches, pad_to_max_length, num_workers
        self.cache_dir, self.split_seed, self.seed = cache_dir, split_seed, seed
        self.views: dict[str, LabelledView] = {}
        self._check()

    def _check(self) -> None:
        least = {"vocab_size": 3, "max_length": 1, "batch_size": 1, "eval_batch_size": 1, "bucket_batches": 0}
        least |= {"num_workers": 0, "split_seed": 0, "seed": 0}
        for name, smallest in least.items():
            if getattr(self, name) < smallest:
                raise UserError(f"data.{name} ({getattr(self, name)}) must be at least {smallest}.")
        if self.head is not None and not 0 <= self.head <= self.max_length:
            raise UserError(f"data.head ({self.head}) must be null or 0 to data.max_length ({self.max_length}).")
        for name, legal in {"split": ("holdout", "official"), "overlap": ("keep", "drop", "error")}.items():
            if getattr(self, name) not in legal:
                raise UserError(f"data.{name} ({getattr(self, name)}) must be one of {', '.join(legal)}.")
        if self.split == "holdout" and self.overlap != "keep":
            raise UserError(
                f"data.overlap ({self.overlap}) has no effect with data.split=holdout, where identical texts are "
                "always on one side; leave it at keep or use data.split=official."
            )
        if len(set(self.label_names)) < max(2, len(self.label_names)):
            raise UserError(f"data.label_names ({self.label_names}) must be at least two different names.")

    def prepare_data(self) -> None:
        """Tokenise into the cache; Lightning runs this in one process per machine."""
        self._tokenised()

    def _tokenised(self) -> tuple[Source, list[corpus.Side]]:
        source = self.reader(path=self.path, text_column=self.text_column, label_column=self.label_column)
        names = ["train", "test"] if self.split == "official" else ["train"]
        cached = partial(
            corpus.cached_split,
            source,
            columns=[self.text_column, self.label_column],
            label_names=self.label_names,
            cache_dir=self.cache_dir,
        )
        return source, [cached(name) for name in names]

    def setup(self, stage: str | None = None) -> None:
        """Split, count words, and get ready to hand out batches; the stage makes no difference."""
        if self.views:
            return
        source, found = self._tokenised()
        names, seed = self.label_names, self.split_seed
        if self.split == "holdout":
            overlap = 0
            sides = corpus.holdout(found[0], label_names=names, seed=seed)
        else:
            overlap = corpus.count_overlap(found[0], found[1])
            sides = corpus.official(found[0], found[1], label_names=names, seed=seed, overlap=self.overlap)
        self.vocabulary = corpus.fit_vocabulary(sides["train"], vocab_size=self.vocab_size)
        self.encoder = Encoder(self.vocabulary, self.max_length, self.head, self.pad_to_max_length)
        self.fingerprint = {
            **corpus.fingerprint(source, sides, self.vocabulary),
            "split": self.split,
            "split_seed": self.split_seed,
            "overlap": {"test_rows_in_train": overlap, "rule": self.overlap},
            "label_names": self.label_names,
        }
        for name, side in sides.items():
            ids = word_ids(side.tokens, self.vocabulary)
            self.views[name] = LabelledView(side.tokens, side.rows, ids, self.encoder)

    def encode(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Encode texts as the batches are; returns ids (N, T) and lengths (N,), both int64."""
        return self.encoder(texts)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Training batches in the order of (seed, epoch); `loader.sampler.set_epoch` chooses the epoch."""
        view = self.views["train"]
        order = BatchOrder(view.lengths, batch_size=self.batch_size, bucket_batches=self.bucket_batches, seed=self.seed)
        if self.trainer is not None:
            limit = self.trainer.limit_train_batches
            # As Lightning counts: a float is a part of the epoch, an integer a number of batches.
            order.limit = int(limit * len(order)) if isinstance(limit, float) else limit
            order.accumulate = self.trainer.accumulate_grad_batches
            order.frozen = self.trainer.overfit_batches > 0  # type: ignore[attr-defined]
        return self._loader(view, order)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Validation batches, longest reviews first."""
        return self._eval_loader(self.views["val"])

    def test_dataloader(self) -> DataLoader[Batch]:
        """Test batches, longest reviews first."""
        return self._eval_loader(self.views["test"])

    def _eval_loader(self, view: LabelledView) -> DataLoader[Batch]:
        return self._loader(view, SortedOrder(view.lengths, batch_size=self.eval_batch_size))

    def _loader(self, view: LabelledView, order: BatchOrder | SortedOrder) -> DataLoader[Batch]:
        return DataLoader(
            view,  # type: ignore[arg-type]
            batch_size=None,
            sampler=order,
            num_workers=self.num_workers,
            collate_fn=_as_it_is,
            pin_memory=torch.cuda.is_available(),
            # A loader draws a number at each start, by default from the generator that dropout uses.
            generator=torch.Generator().manual_seed(self.seed),
        )


def _as_it_is(batch: Any) -> Any:
    return batch
