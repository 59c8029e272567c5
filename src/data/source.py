"""Finds a corpus: a folder with train and test files, a single file, or the name of a data set on the hub."""

import hashlib
import re
from functools import partial
from pathlib import Path

from src.data.files import READERS, read_file
from src.data.table import UNSUPERVISED, Source, Table, join_tables
from src.errors import UserError

_SHARD = re.compile(r"(?P<split>[A-Za-z]\w*)(?:-(?P<number>\d+)-of-(?P<total>\d+)(?:-[0-9a-f]+)?)?")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_WAY_OUT = "Use data=demo, or data.path=<folder or .csv, .jsonl or .parquet file>"


def read_corpus(*, path: str | None, text_column: str = "text", label_column: str = "label") -> Source:
    """Find the corpus and fingerprint its bytes, without parsing them.

    A folder holds `train.csv`, `test.csv` and so on, or shards `train-00000-of-00002.parquet`, directly or in one
    folder below (the layout of hub repositories). A single file is the split `train`. Anything else that reads like
    `owner/name` is asked from the hub. Raises UserError if nothing is found.
    """
    if not path:
        raise UserError(f"data.path ({path}) must name a corpus. {_WAY_OUT}.")
    place = Path(path).expanduser()
    columns = {"text_column": text_column, "label_column": label_column}
    if place.is_dir():
        files = _files_of_folder(place)
    elif place.is_file():
        if place.suffix not in READERS:
            raise UserError(f"data.path ({path}) must end in {', '.join(READERS)} or be a folder of such files.")
        files = {"train": [place]}
    elif is_hub_name(path):
        from src.data.hub import read_hub

        return read_hub(path, **columns)
    else:
        raise UserError(
            f"data.path ({path}) is neither a folder nor a file here, nor a hub name like stanfordnlp/imdb. {_WAY_OUT}."
        )
    return Source(path, _fingerprint(files), tuple(files), partial(_read_split, files, columns))


def is_hub_name(path: str | None) -> bool:
    """Tell whether `path` would be asked from the hub: it reads like `owner/name` and nothing here is called so."""
    if not path or not _HUB_NAME.fullmatch(path):
        return False
    return not Path(path).exists() and Path(path).suffix not in READERS


def _read_split(files: dict[str, list[Path]], columns: dict[str, str], name: str) -> Table:
    if name == UNSUPERVISED:  # its labels are not looked at, so it needs no column of them
        columns = {**columns, "label_column": columns["text_column"]}
    return join_tables([read_file(path, **columns) for path in files[name]])


def _files_of_folder(folder: Path) -> dict[str, list[Path]]:
    """Map each split to its files, in shard order."""
    files: dict[str, list[Path]] = {}
    for path in sorted([*folder.glob("*.*"), *folder.glob("[!._]*/*.*")]):
        match = _SHARD.fullmatch(path.stem)
        if path.suffix in READERS and match and path.is_file():
            files.setdefault(match["split"], []).append(path)
    for split, found in files.items():
        _check_shards(folder, split, found)
    if "train" not in files:
        kinds = ", ".join(f"train{suffix}" for suffix in READERS)
        raise UserError(f"data.path ({folder}) holds no training file ({kinds}, or shards of one). {_WAY_OUT}.")
    return files


def _check_shards(folder: Path, split: str, found: list[Path]) -> None:
    """Refuse two different files for one split, and a set of shards with a gap."""
    shards = [match for match in (_SHARD.fullmatch(path.stem) for path in found) if match]
    totals = {match["total"] for match in shards}
    if len({(path.parent, path.suffix) for path in found}) > 1 or len(totals) > 1 or (None in totals and found[1:]):
        names = ", ".join(str(path.relative_to(folder)) for path in found[:3])
        raise UserError(
            f"data.path ({folder}) holds several choices for {split}: {names}. Point data.path at one of them."
        )
    total = totals.pop()
    numbers = [int(match["number"]) for match in shards if total is not None]
    if total is not None and numbers != list(range(int(total))):
        raise UserError(
            f"data.path ({folder}) holds {len(numbers)} of the {int(total)} files of {split}; copy the rest."
        )


def _fingerprint(files: dict[str, list[Path]]) -> str:
    digest = hashlib.sha256()
    for split, paths in sorted(files.items()):
        for path in paths:
            try:
                with open(path, "rb") as file:
                    content = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError as error:
                raise UserError(f"data.path: {path} cannot be read: {error.strerror}.") from error
            digest.update(f"{split} {path.suffix} {content}\n".encode())
    return digest.hexdigest()
