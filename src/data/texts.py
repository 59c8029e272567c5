"""Text for a language model as a LightningDataModule; outside a trainer call `prepare_data()` and `setup()` first."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from lightning import LightningDataModule
from torch.utils.data import DataLoader

from src.data import corpus
from src.data.block import Block
from src.data.blocks import PackedView
from src.data.bpe import SMALLEST, Bpe
from src.data.encode import open_tokenizer
from src.data.labels import check_label_names
from src.data.loading import follow, make_loader
from src.data.reading import readable, trained_bpe
from src.data.sampler import BatchOrder, SortedOrder
from src.data.schemes import ROWS, subwords
from src.data.table import UNSUPERVISED, Source
from src.data.vocabulary import Vocabulary
from src.errors import UserError

log = logging.getLogger(__name__)

Sides = dict[str, corpus.Side]


class Texts(LightningDataModule):
    """Blocks of the training documents, and of the `unsupervised` ones, as tokens of a BPE trained on them.

    Equal `split` and `split_seed` hold out the same rows as in `Reviews`; a text that also stands in val or test is
    read by neither the tokenizer nor the training. All that can be wrong with the data is found by `setup`, which
    raises UserError. Afterwards `tokenizer`, `fingerprint` (plain JSON) and `save` can be used; the knobs are
    described in conf/data.
    """

    tokenizer: Bpe
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
        vocab_size: Annotated[int, ">= 257"] = 8192,
        max_length: Annotated[int, ">= 1"] = 256,
        batch_size: Annotated[int, ">= 1"] = 16,
        eval_batch_size: Annotated[int, ">= 1"] = 32,
        include_unsupervised: bool = False,
        num_workers: Annotated[int, ">= 0"] = 0,
        cache_dir: str,
        split_seed: Annotated[int, ">= 0"] = 0,
        seed: Annotated[int, ">= 0"] = 0,
        tokenizer: str = "bpe",
    ) -> None:
        super().__init__()
        self.path, self.reader, self.split = path, reader, split
        self.text_column, self.label_column, self.label_names = text_column, label_column, list(label_names)
        self.vocab_size, self.max_length = vocab_size, max_length
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.include_unsupervised, self.num_workers = include_unsupervised, num_workers
        self.cache_dir, self.split_seed, self.seed = cache_dir, split_seed, seed
        self.views: dict[str, PackedView] = {}
        least = {"vocab_size": SMALLEST, "max_length": 1, "batch_size": 1, "eval_batch_size": 1, "num_workers": 0}
        for name, smallest in (least | {"split_seed": 0, "seed": 0}).items():
            if getattr(self, name) < smallest:
                raise UserError(f"data.{name} ({getattr(self, name)}) must be at least {smallest}.")
        if split not in ("holdout", "official"):
            raise UserError(f"data.split ({split}) must be one of holdout, official.")
        check_label_names(self.label_names)
        given = None if tokenizer == "bpe" else open_tokenizer(tokenizer, vocab_size=vocab_size)
        if isinstance(given, Vocabulary):
            raise UserError(f"data.tokenizer ({tokenizer}) must be bpe or a {Bpe.FILE}: words do not give a text back.")
        self.given = given

    def prepare_data(self) -> None:
        """Train the tokenizer and tokenise, into the cache; Lightning runs this in one process per machine."""
        self._tokenised()

    def _tokenised(self) -> tuple[Source, Sides, Sides]:
        """The source; train, val and test; and what may be read of the splits of the source, all tokenised."""
        source = self.reader(path=self.path, text_column=self.text_column, label_column=self.label_column)
        if self.include_unsupervised and UNSUPERVISED not in source.split_names:
            raise UserError(
                f"data.include_unsupervised (true) needs an unsupervised split, but {source.name} has "
                f"{', '.join(source.split_names)}; use data.include_unsupervised=false."
            )
        cached = partial(
            corpus.cached_split,
            source,
            columns=[self.text_column, self.label_column],
            label_names=self.label_names,
            cache_dir=self.cache_dir,
        )
        labelled = ["train", "test"] if self.split == "official" else ["train"]
        others = [UNSUPERVISED] if self.include_unsupervised else []
        found = {name: cached(name, scheme=ROWS) for name in (*labelled, *others)}
        sides = self._cut(found)
        text = readable(sides, {name: found[name] for name in others})
        columns, size, place = self.text_column, self.vocab_size, self.cache_dir
        if self.given is None:
            self.tokenizer = trained_bpe(source, text, text_column=columns, vocab_size=size, cache_dir=place)
        else:
            self.tokenizer = self.given
        tokens = {name: cached(name, scheme=subwords(self.tokenizer)).tokens for name in found}
        where = {"train": "train", "val": "train", "test": labelled[-1]}
        sides = {name: corpus.Side(tokens[where[name]], side.rows) for name, side in sides.items()}
        return source, sides, {name: corpus.Side(tokens[name], side.rows) for name, side in text.items()}

    def _cut(self, found: Sides) -> Sides:
        settings: dict[str, Any] = {"label_names": self.label_names, "seed": self.split_seed}
        if self.split == "holdout":
            return corpus.holdout(found["train"], **settings)
        return corpus.official(found["train"], found["test"], **settings)

    def setup(self, stage: str | None = None) -> None:
        """Split, leave out what is held out, and get ready to hand out blocks; the stage makes no difference."""
        if self.views:
            return
        source, sides, text = self._tokenised()
        whole = {"train": len(sides["train"].rows)}
        whole |= {name: len(side.tokens.labels) for name, side in text.items() if name != "train"}
        left_out = {name: whole[name] - len(side.rows) for name, side in text.items()}
        if any(left_out.values()):
            counts = ", ".join(f"{count} of {whole[name]} {name} texts" for name, count in left_out.items())
            log.warning("Left out, because they also stand in val or test: %s.", counts)
        view = partial(PackedView, length=self.max_length, token_bytes=self.tokenizer.token_bytes)
        train = view(list(text.values()), seed=self.seed)
        if not len(train):
            raise UserError(
                f"data.max_length ({self.max_length}) must be at most {train.num_tokens}, the tokens of all training "
                "texts together."
            )
        self.views = {"train": train, **{name: view([sides[name]], seed=None) for name in ("val", "test")}}
        self.fingerprint = {
            **corpus.fingerprint(source, sides, self.tokenizer),
            "split": self.split,
            "split_seed": self.split_seed,
            "label_names": self.label_names,
            "documents": {name: len(side.rows) for name, side in text.items()},
            "left_out_as_held_out": left_out,
            "tokens": {name: packed.num_tokens for name, packed in self.views.items()},
        }

    def save(self, folder: str | Path) -> None:
        """Write the tokenizer.json that generation and fine-tuning read."""
        self.tokenizer.save(Path(folder) / Bpe.FILE)

    def train_dataloader(self) -> DataLoader[Block]:
        """Training batches in the order of (seed, epoch); `loader.sampler.set_epoch` chooses the epoch."""
        view = self.views["train"]
        full = np.full(len(view), self.max_length)
        order = BatchOrder(full, batch_size=self.batch_size, bucket_batches=0, seed=self.seed)
        return make_loader(view, follow(order, self.trainer), num_workers=self.num_workers, seed=self.seed)

    def val_dataloader(self) -> DataLoader[Block]:
        """Validation batches, every target once; the order of blocks is mixed, so that the first ones are a sample."""
        return self._eval_loader(self.views["val"])

    def test_dataloader(self) -> DataLoader[Block]:
        """Test batches, every target once."""
        return self._eval_loader(self.views["test"])

    def _eval_loader(self, view: PackedView) -> DataLoader[Block]:
        order = SortedOrder(view.lengths, batch_size=self.eval_batch_size)
        return make_loader(view, follow(order, self.trainer), num_workers=self.num_workers, seed=self.seed)
