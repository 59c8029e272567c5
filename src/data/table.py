"""What a reader hands over: a source with named splits, each a table of texts and labels that knows its lines."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

# The split of texts without a label; whatever its label column holds is not looked at.
UNSUPERVISED = "unsupervised"


@dataclass(frozen=True)
class Table:
    """Rows as they were found, not yet checked: `texts` may hold None, `labels` anything."""

    texts: Sequence[Any]
    labels: Sequence[Any]
    origin: str  # file or data set the rows come from, for error messages
    lines: Sequence[int] | None = None  # line of each row in a text file, from 1; None where rows have no line
    parts: "tuple[Table, ...]" = ()

    def where(self, row: int) -> str:
        """Name the place of one row (counted from 0) so that a person can open the file there."""
        for part in self.parts:
            if row < len(part.texts):
                return part.where(row)
            row -= len(part.texts)
        return f"{self.origin}, row {row}" if self.lines is None else f"{self.origin}, line {self.lines[row]}"


def join_tables(tables: Sequence[Table]) -> Table:
    """Put the shards of one split behind each other; `where` still names the shard."""
    if len(tables) == 1:
        return tables[0]
    texts = [text for table in tables for text in table.texts]
    labels = [label for table in tables for label in table.labels]
    return Table(texts, labels, ", ".join(table.origin for table in tables), parts=tuple(tables))


@dataclass(frozen=True)
class Source:
    """A corpus that has been found but not parsed; `read(split name)` parses one split.

    `fingerprint` is a sha256 over the contents, so equal fingerprints mean equal tables. A data module takes any
    `reader(*, path, text_column, label_column) -> Source`.
    """

    name: str
    fingerprint: str
    split_names: tuple[str, ...]
    read: Callable[[str], Table]
