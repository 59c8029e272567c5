"""Reviews as passages of word ids, unlabelled ones too: what a word-level classifier's language model is trained on."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from lightning import LightningDataModule
from torch.utils.data import DataLoader

from src.data import corpus
from src.data.corpus import Side
from src.data.loading import follow, make_loader
from src.data.passages import Passages, TargetOrder, WordBlock, fit_vocabulary, join
from src.data.reading import readable
from src.data.sampler import SortedOrder
from src.data.table import UNSUPERVISED, Source
from src.data.vocabulary import Vocabulary
from src.errors import UserError


class WordBlocks(LightningDataModule):
    """Passages of the training reviews and of the `unsupervised` split; val and test are those of `Reviews`.

    Texts identical to one of val or test are left out, of the vocabulary too. `setup` raises UserError for all that
    can be wrong with the data; afterwards `vocabulary`, `fingerprint` and `save` can be used.
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
        include_unsupervised: bool = True,
        vocab_size: Annotated[int, ">= 3"] = 30000,
        max_length: Annotated[int, ">= 2"] = 256,
        batch_size: Annotated[int, ">= 1"] = 64,
        eval_batch_size: Annotated[int, ">= 1"] = 64,
        bucket_batches: Annotated[int, ">= 0"] = 50,
        num_workers: Annotated[int, ">= 0"] = 0,
        cache_dir: str,
        split_seed: Annotated[int, ">= 0"] = 0,
        seed: Annotated[int, ">= 0"] = 0,
    ) -> None:
        super().__init__()
        self.path, self.reader, self.split, self.include_unsupervised = path, reader, split, include_unsupervised
        self.text_column, self.label_column, self.label_names = text_column, label_column, list(label_names)
        self.vocab_size, self.max_length = vocab_size, max_length
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.bucket_batches, self.num_workers = bucket_batches, num_workers
        self.cache_dir, self.split_seed, self.seed = cache_dir, split_seed, seed
        self.views: dict[str, Passages] = {}
        least = {"vocab_size": 3, "max_length": 2, "batch_size": 1, "eval_batch_size": 1, "bucket_batches": 0}
        for name, smallest in (least | {"num_workers": 0, "split_seed": 0, "seed": 0}).items():
            if getattr(self, name) < smallest:
                raise UserError(f"data.{name} ({getattr(self, name)}) must be at least {smallest}.")
        if split not in ("holdout", "official"):
            raise UserError(f"data.split ({split}) must be one of holdout, official.")

    def prepare_data(self) -> None:
        """Tokenise into the cache; Lightning runs this in one process per machine."""
        self._tokenised()

    def _tokenised(self) -> tuple[Source, dict[str, Side]]:
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
        wanted = {"train": True, "test": self.split == "official", UNSUPERVISED: self.include_unsupervised}
        return source, {name: cached(name) for name, used in wanted.items() if used}

    def setup(self, stage: str | None = None) -> None:
        """Split, leave out what is held out, count words, cut passages; the stage makes no difference."""
        if self.views:
            return
        source, found = self._tokenised()
        names, seed = self.label_names, self.split_seed
        if self.split == "holdout":
            sides = corpus.holdout(found["train"], label_names=names, seed=seed)
        else:
            sides = corpus.official(found["train"], found["test"], label_names=names, seed=seed)
        others = {UNSUPERVISED: found[UNSUPERVISED]} if self.include_unsupervised else {}
        text = readable(sides, others)
        self.vocabulary = fit_vocabulary(list(text.values()), vocab_size=self.vocab_size)
        rows = {"train": list(text.values()), "val": [sides["val"]], "test": [sides["test"]]}
        self.views = {name: join(parts, self.vocabulary, self.max_length) for name, parts in rows.items()}
        self.fingerprint = {
            **corpus.fingerprint(source, sides, self.vocabulary),
            "split": self.split,
            "split_seed": self.split_seed,
            "label_names": self.label_names,
            "documents": {name: len(side.rows) for name, side in text.items()},
            "words": {name: int(view.lengths.sum()) for name, view in self.views.items()},
        }
        if not len(self.views["train"]):
            raise UserError(
                f"The training text of {source.name} holds no two words in a row; nothing can be predicted."
            )

    def save(self, folder: str | Path) -> None:
        """Write vocabulary.json, which a classifier that starts from this model reads its words with."""
        self.vocabulary.save(Path(folder) / "vocabulary.json")

    def train_dataloader(self) -> DataLoader[WordBlock]:
        """Training batches in the order of (seed, epoch); `loader.sampler.set_epoch` chooses the epoch."""
        view = self.views["train"]
        size, buckets = self.batch_size, self.bucket_batches
        order = TargetOrder(view.lengths, batch_size=size, bucket_batches=buckets, seed=self.seed)
        return make_loader(view, follow(order, self.trainer), num_workers=self.num_workers, seed=self.seed)

    def val_dataloader(self) -> DataLoader[WordBlock]:
        """Validation batches, longest passages first."""
        return self._eval_loader("val")

    def test_dataloader(self) -> DataLoader[WordBlock]:
        """Test batches, longest passages first."""
        return self._eval_loader("test")

    def _eval_loader(self, name: str) -> DataLoader[WordBlock]:
        view = self.views[name]
        order = SortedOrder(view.lengths, batch_size=self.eval_batch_size)
        return make_loader(view, follow(order, self.trainer), num_workers=self.num_workers, seed=self.seed)
