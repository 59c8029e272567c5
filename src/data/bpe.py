"""Byte-level BPE: any text to numbers and back to the byte, in the tokenizer.json of Hugging Face `tokenizers`.

The vocabulary is the end of a text, the 256 bytes, and the pairs merged most often in the training text (Sennrich et
al. 2016, aclanthology.org/P16-1162, section 3.2) inside the words that GPT-2's pattern cuts (Radford et al. 2019,
section 2.2). Nothing is unknown: a character without a token of its own is its UTF-8 bytes.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from src.errors import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SMALLEST = 257  # the 256 bytes and the end of a text
# Longer texts are encoded in pieces, so that one of 50 MB takes bounded memory. GPT-2's pattern never joins a
# character to the white space behind it, so a cut there changes no token.
PIECE_CHARACTERS = 100_000
_PIECE = re.compile(r"(?s:.*)\S(?=[ \n])")


class Bpe:
    """A trained tokenizer, immutable; `text` is the content of its tokenizer.json.

    Id 0 is `<|endoftext|>`. It opens every document and so ends the one before. Written in a text, those 13
    characters are ordinary text. Raises ValueError if `text` is something else than such a tokenizer.
    """

    END = 0
    END_TEXT = "<|endoftext|>"
    FILE = "tokenizer.json"
    # Part of every cache key and fingerprint: raise it with any change that alters the tokens of any text.
    VERSION = "bpe-1"

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha256 = hashlib.sha256(text.encode()).hexdigest()
        self._tokenizer = _parse(text)

    def __len__(self) -> int:
        """Count the ids, the end of a text included."""
        return self._tokenizer.get_vocab_size()

    def __reduce__(self) -> Any:
        return (Bpe, (self.text,))

    def encode(self, text: str) -> np.ndarray:
        """Tokens of a text as it stands, (number of tokens,) int32; `decode` gives the text back.

        Only half a surrogate pair, which no UTF-8 can hold, comes back as U+FFFD.
        """
        return self._encode([text])[0]

    def encode_document(self, text: str) -> np.ndarray:
        """END and the tokens of a text after `tidy`, (1 + number of tokens,) int32: what networks are trained on."""
        return self.encode_documents([text])[0]

    def encode_documents(self, texts: Sequence[str]) -> list[np.ndarray]:
        """`encode_document` of each text, on all cores."""
        return [np.append(np.int32(self.END), tokens) for tokens in self._encode([tidy(text) for text in texts])]

    def _encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        pieces = [_pieces(_storable(text)) for text in texts]
        flat = [piece for row in pieces for piece in row]
        found = iter(self._tokenizer.encode_batch_fast(flat, add_special_tokens=False))
        return [np.concatenate([np.array(next(found).ids, dtype=np.int32) for _ in row]) for row in pieces]

    def decode(self, ids: Iterable[int] | np.ndarray) -> str:
        """The text of some tokens, END left out; bytes that are no whole character become U+FFFD."""
        return self._tokenizer.decode(np.asarray(ids, dtype=np.int64).tolist(), skip_special_tokens=True)

    @cached_property
    def token_bytes(self) -> np.ndarray:
        """UTF-8 bytes that each token stands for, (V,) int64; 0 for END."""
        sizes = np.zeros(len(self), dtype=np.int64)
        for token, number in self._tokenizer.get_vocab().items():
            sizes[number] = 0 if number == self.END else len(token)  # one character of a token is one byte
        return sizes

    def save(self, path: str | Path) -> None:
        """Write the tokenizer.json; transformers' PreTrainedTokenizerFast reads it and opens a text with END too."""
        Path(path).write_text(self.text, encoding="utf-8", newline="")

    @classmethod
    def load(cls, path: str | Path) -> "Bpe":
        """Read what `save` wrote; raises UserError if the file is missing or holds another kind of tokenizer."""
        try:
            return cls(Path(path).read_bytes().decode())
        except (OSError, ValueError) as error:
            raise UserError(f"Tokenizer file ({path}) cannot be used: {error}.") from error


def train_bpe(texts: Iterable[str], *, vocab_size: int) -> Bpe:
    """Learn a tokenizer of exactly `vocab_size` ids; the same texts give the same file.

    Raises UserError if the texts do not hold enough pairs that occur twice.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    opener = (Bpe.END_TEXT, Bpe.END)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{Bpe.END_TEXT} $A", special_tokens=[opener])
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=[Bpe.END_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(
        (piece for text in texts for piece in _pieces(_storable(tidy(text)))), trainer=trainer
    )
    found = tokenizer.get_vocab_size()
    if found != vocab_size:
        raise UserError(
            f"data.vocab_size ({vocab_size}) must be {SMALLEST} to {found}, all that the training text yields; set "
            f"data.vocab_size={found} or bring more text."
        )
    return Bpe(tokenizer.to_str())


def tidy(text: str) -> str:
    """The text that networks read: the `<br />` of IMDb is a new line. Bits per byte count the bytes after this."""
    return text.replace("<br />", "\n")


def _parse(text: str) -> "Tokenizer":
    from tokenizers import Tokenizer, models, pre_tokenizers

    try:
        tokenizer = Tokenizer.from_str(text)
    except Exception as error:  # the library knows no narrower one
        raise ValueError(f"it is not a tokenizer.json ({error})") from error
    known = set(pre_tokenizers.ByteLevel.alphabet())
    tokens = {number: token for token, number in tokenizer.get_vocab().items()}
    end = tokens.pop(Bpe.END, None)
    whole = sorted(tokens) == list(range(1, len(tokens) + 1))
    in_bytes = known.issuperset("".join(tokens.values()))
    if not (isinstance(tokenizer.model, models.BPE) and end == Bpe.END_TEXT and whole and in_bytes):
        raise ValueError(f"it must be a byte-level BPE whose token 0 is {Bpe.END_TEXT}")
    # Else a review that says <|endoftext|> would end there.
    tokenizer.encode_special_tokens = True
    return tokenizer


def _storable(text: str) -> str:
    """The text with U+FFFD for half a surrogate pair, and whole pairs joined."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _pieces(text: str) -> list[str]:
    return list(_cut(text)) or [""]


def _cut(text: str) -> Iterator[str]:
    start = 0
    while start < len(text):
        end = start + PIECE_CHARACTERS
        if end < len(text):
            found = _PIECE.match(text, start, end)
            end = found.end() if found else end
        yield text[start:end]
        start = end
