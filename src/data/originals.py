"""The texts behind the numbers: some rows of a split as the source has them, for people to read."""

from collections.abc import Sequence

from src.data.bpe import Bpe
from src.data.cache_files import TokenCache
from src.data.corpus import text_hash
from src.data.encode import Tokenizer
from src.data.table import Source
from src.errors import UserError


def originals(
    source: Source, name: str, tokens: TokenCache, rows: Sequence[int], tokenizer: Tokenizer
) -> tuple[list[str], bool]:
    """The texts of `rows` of split `name`, read once more, and True.

    If the source is gone or has changed meanwhile: the words or BPE tokens that were made of them, and False.
    """
    try:
        table = source.read(name)
        texts = [str(table.texts[row]) for row in rows]
        if all(text_hash(text) == tokens.hashes[row] for text, row in zip(texts, rows, strict=True)):
            return texts, True
    except (UserError, OSError, IndexError):
        pass  # nothing of a run depends on these texts
    return [_joined(tokens, row, tokenizer) for row in rows], False


def _joined(tokens: TokenCache, row: int, tokenizer: Tokenizer) -> str:
    numbers = tokens.numbers[tokens.offsets[row] : tokens.offsets[row + 1]]
    return tokenizer.decode(numbers) if isinstance(tokenizer, Bpe) else " ".join(tokens.words[i] for i in numbers)
