"""Reviews with labels as a LightningDataModule; outside a trainer call `prepare_data()` and `setup()` first."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from src.data import corpus
from src.data.batch import Batch
from src.data.bpe import SMALLEST, Bpe
from src.data.encode import Encoder, Tokenizer, open_tokenizer
from src.data.labels import check_label_names
from src.data.loading import follow, make_loader
from src.data.originals import originals
from src.data.reading import readable, trained_bpe
from src.data.sampler import BatchOrder, SortedOrder
from src.data.schemes import ROWS, WORDS, subwords
from src.data.table import UNSUPERVISED, Source
from src.data.views import LabelledView, token_ids
from src.errors import UserError


class Reviews(LightningDataModule):
    """Batches of labelled reviews from any source a reader finds.

    All that can be wrong with the data is found by `setup`, which raises UserError. Afterwards `vocabulary`,
    `label_names`, `fingerprint` (plain JSON) and `encode` can be used; the knobs are described in conf/data.
    """

    vocabulary: Tokenizer
    fingerprint: dict[str, Any]
    source: Source

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
        tokenizer: str = "words",
    ) -> None:
        super().__init__()
        self.path, self.reader, self.split, self.overlap = path, reader, split, overlap
        self.text_column, self.label_column, self.label_names = text_column, label_column, list(label_names)
        self.vocab_size, self.max_length, self.head = vocab_size, max_length, head
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.bucket_batches, self.pad_to_max_length, self.num_workers = bucket_batches, pad_to_max_length, num_workers
        self.cache_dir, self.split_seed, self.seed = cache_dir, split_seed, seed
        self.tokenizer = tokenizer
        self.views: dict[str, LabelledView] = {}
        self._check()
        self.given = None if tokenizer in ("words", "bpe") else open_tokenizer(tokenizer, vocab_size=vocab_size)
        self._check_bpe()

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
        check_label_names(self.label_names)

    def _check_bpe(self) -> None:
        if self.tokenizer == "bpe" and self.vocab_size < SMALLEST:
            raise UserError(
                f"data.vocab_size ({self.vocab_size}) must be at least {SMALLEST} with data.tokenizer=bpe: 256 bytes "
                "and the end of a text."
            )
        if self.head == 0 and (self.tokenizer == "bpe" or isinstance(self.given, Bpe)):
            raise UserError(
                f"data.head (0) must be null or at least 1 with data.tokenizer={self.tokenizer}, where the opening "
                "token of a review is the first of its head."
            )

    def prepare_data(self) -> None:
        """Tokenise into the cache; Lightning runs this in one process per machine."""
        self._tokenised()

    def _tokenised(self) -> tuple[Source, Tokenizer | None, list[corpus.Side]]:
        """The source, the tokenizer unless it is a vocabulary still to be counted, and the tokenised splits."""
        source = self.reader(path=self.path, text_column=self.text_column, label_column=self.label_column)
        names = ["train", "test"] if self.split == "official" else ["train"]
        cached = partial(
            corpus.cached_split,
            source,
            columns=[self.text_column, self.label_column],
            label_names=self.label_names,
            cache_dir=self.cache_dir,
        )
        tokenizer = self.given
        if self.tokenizer == "bpe":
            sides = self._cut([cached(name, scheme=ROWS) for name in names])
            others = [name for name in source.split_names if name == UNSUPERVISED]
            text = readable(sides, {name: cached(name, scheme=ROWS) for name in others})
            columns, size, place = self.text_column, self.vocab_size, self.cache_dir
            tokenizer = trained_bpe(source, text, text_column=columns, vocab_size=size, cache_dir=place)
        scheme = subwords(tokenizer) if isinstance(tokenizer, Bpe) else WORDS
        return source, tokenizer, [cached(name, scheme=scheme) for name in names]

    def _cut(self, found: list[corpus.Side]) -> dict[str, corpus.Side]:
        names, seed = self.label_names, self.split_seed
        if self.split == "holdout":
            return corpus.holdout(found[0], label_names=names, seed=seed)
        return corpus.official(found[0], found[1], label_names=names, seed=seed, overlap=self.overlap)

    def setup(self, stage: str | None = None) -> None:
        """Split, count words, and get ready to hand out batches; the stage makes no difference."""
        if self.views:
            return
        source, tokenizer, found = self._tokenised()
        sides = self._cut(found)
        overlap = 0 if self.split == "holdout" else corpus.report_overlap(found[0], found[1], self.overlap)
        if tokenizer is None:
            tokenizer = corpus.fit_vocabulary(sides["train"], vocab_size=self.vocab_size)
        self.source, self.vocabulary = source, tokenizer
        self.encoder = Encoder(self.vocabulary, self.max_length, self.head, self.pad_to_max_length)
        self.fingerprint = {
            **corpus.fingerprint(source, sides, self.vocabulary),
            "split": self.split,
            "split_seed": self.split_seed,
            "overlap": {"test_rows_in_train": overlap, "rule": self.overlap},
            "label_names": self.label_names,
        }
        for name, side in sides.items():
            ids = token_ids(side.tokens, self.vocabulary)
            self.views[name] = LabelledView(side.tokens, side.rows, ids, self.encoder)

    def save(self, folder: str | Path) -> None:
        """Write the vocabulary.json or tokenizer.json that `src.data.encode.load_encoder` reads."""
        self.vocabulary.save(Path(folder) / self.vocabulary.FILE)

    def encode(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Encode texts as the batches are; returns ids (N, T) and lengths (N,), both int64."""
        return self.encoder(texts)

    def texts(self, split: str, rows: Sequence[int]) -> tuple[list[str], bool]:
        """Reviews of a split by their rows; False if only their tokens are left, see originals."""
        name = "test" if (split, self.split) == ("test", "official") else "train"
        return originals(self.source, name, self.views[split].tokens, rows, self.vocabulary)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Training batches in the order of (seed, epoch); `loader.sampler.set_epoch` chooses the epoch."""
        view = self.views["train"]
        order = BatchOrder(view.lengths, batch_size=self.batch_size, bucket_batches=self.bucket_batches, seed=self.seed)
        return self._loader(view, follow(order, self.trainer))

    def val_dataloader(self) -> DataLoader[Batch]:
        """Validation batches, longest reviews first."""
        return self._eval_loader(self.views["val"])

    def test_dataloader(self) -> DataLoader[Batch]:
        """Test batches, longest reviews first."""
        return self._eval_loader(self.views["test"])

    def _eval_loader(self, view: LabelledView) -> DataLoader[Batch]:
        return self._loader(view, follow(SortedOrder(view.lengths, batch_size=self.eval_batch_size), self.trainer))

    def _loader(self, view: LabelledView, order: BatchOrder | SortedOrder) -> DataLoader[Batch]:
        return make_loader(view, order, num_workers=self.num_workers, seed=self.seed)
