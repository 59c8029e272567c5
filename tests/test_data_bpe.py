"""Byte-level BPE: exact both ways for any text, the same in every run, and as a slow reading of the merges has it."""

import json
import pickle
import random
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from src.data import bpe as bpe_module
from src.data.bpe import Bpe, tidy, train_bpe
from src.data.demo import write_reviews
from src.errors import UserError

TEXTS = [*write_reviews(200, seed=0), "It's 1999, isn't it?  Well:\n\n\tthey've 42 cats...", "café déjà vu " * 9]
ODD = [
    "",
    " ",
    "\x00",
    "\r\n \u2028\x85\x1c tabs\t\t",
    "naïve e\u0301 \U0001f468\u200d\U0001f469\u200d\U0001f467 \U00010348",
    "<|endoftext|>",
    "a<|endoftext|> b",
    "Ġ ģ Ċ",  # the letters by which byte-level tokens show space and new line
    "\ufffd\ufeff\uffff",
    "   many   blanks   ",
    "中文テキスト한국어",
]


@pytest.fixture(scope="module")
def bpe() -> Bpe:
    return train_bpe(TEXTS, vocab_size=400)


def test_any_unicode_text_comes_back(bpe: Bpe) -> None:
    draw = random.Random(0)
    points = [point for point in (*range(0x3000), *range(0x10000, 0x10200), 0x10FFFF)]
    texts = ["".join(chr(draw.choice(points)) for _ in range(draw.randrange(1, 40))) for _ in range(500)]
    for text in [*ODD, *TEXTS, *texts]:
        ids = bpe.encode(text)
        assert ids.dtype == np.int32
        assert bpe.decode(ids) == text
        assert int(bpe.token_bytes[ids].sum()) == len(text.encode())


def test_half_a_surrogate_pair_becomes_the_replacement_character_and_a_whole_one_is_joined(bpe: Bpe) -> None:
    assert bpe.decode(bpe.encode("a\ud800b")) == "a\ufffdb"
    assert bpe.decode(bpe.encode("\ud83d\ude00\udc00")) == "\U0001f600\ufffd"


def test_the_end_opens_a_document_and_cannot_be_written_in_one(bpe: Bpe) -> None:
    assert bpe.encode_document("<|endoftext|> a").tolist() == [0, *bpe.encode("<|endoftext|> a").tolist()]
    for text in [*ODD, *TEXTS]:
        assert 0 not in bpe.encode(text)
    assert bpe.token_bytes[0] == 0
    assert bpe.decode([0, *bpe.encode("a b"), 0]) == "a b"


def test_a_line_break_of_html_is_a_new_line_before_anything(bpe: Bpe) -> None:
    assert bpe.encode_document("a<br /><br />b").tolist() == bpe.encode_document("a\n\nb").tolist()
    assert bpe.decode(bpe.encode("a<br />b")) == "a<br />b"
    assert tidy("a<br />b") == "a\nb"


def slow(text: str, merges: list[tuple[str, str]]) -> list[str]:
    """GPT-2's words of an ASCII text, each merged by the rule of the lowest rank until none applies."""
    found: list[str] = []
    for word in re.findall(r"'(?:s|t|re|ve|m|ll|d)| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+", text):
        parts = list(word.replace(" ", "Ġ").replace("\n", "Ċ").replace("\t", "ĉ"))
        while pairs := [pair for pair in pairwise(parts) if pair in merges]:
            best = min(pairs, key=merges.index)
            at = list(pairwise(parts)).index(best)
            parts[at : at + 2] = ["".join(best)]
        found += parts
    return found


def test_tokens_are_those_of_a_slow_reading_of_the_merges(bpe: Bpe) -> None:
    model = json.loads(bpe.text)["model"]
    merges = [tuple(merge) for merge in model["merges"]]
    assert len(merges) == 400 - 257
    for text in [text for text in TEXTS if text.isascii()][:60]:
        assert bpe.encode(text).tolist() == [model["vocab"][token] for token in slow(text, merges)]


@pytest.mark.parametrize("piece", [1, 7, 50])
def test_a_text_read_in_pieces_has_the_tokens_of_the_whole(
    bpe: Bpe, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pieces shorter than a word must cut it, and then only the text has to come back."""
    texts = [*ODD, *TEXTS]
    whole = [bpe.encode(text).tolist() for text in texts]
    monkeypatch.setattr(bpe_module, "PIECE_CHARACTERS", piece)
    again = [bpe.encode(text).tolist() for text in texts]
    assert [bpe.decode(ids) for ids in again] == texts
    assert (again == whole) == (piece == 50)


def test_many_texts_at_once_are_each_as_alone(bpe: Bpe) -> None:
    together = bpe.encode_documents([*ODD, *TEXTS])
    assert [ids.tolist() for ids in together] == [bpe.encode_document(text).tolist() for text in [*ODD, *TEXTS]]
    assert bpe.encode_documents([]) == []


def test_a_saved_a_loaded_and_a_pickled_tokenizer_are_the_same(bpe: Bpe, tmp_path: Path) -> None:
    bpe.save(tmp_path / "tokenizer.json")
    for copy in (Bpe.load(tmp_path / "tokenizer.json"), pickle.loads(pickle.dumps(bpe))):
        assert copy.sha256 == bpe.sha256
        assert len(copy) == len(bpe) == 400
        for text in ODD:  # <|endoftext|> is a text in the copies as well
            assert copy.encode(text).tolist() == bpe.encode(text).tolist()


def test_the_same_texts_give_the_same_file_in_another_process(bpe: Bpe) -> None:
    code = "from tests.test_data_bpe import *; print(train_bpe(TEXTS, vocab_size=400).sha256)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == bpe.sha256
    assert train_bpe(TEXTS[:100], vocab_size=400).sha256 != bpe.sha256


def test_transformers_reads_the_file_and_opens_a_text_as_we_do(bpe: Bpe, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    bpe.save(tmp_path / "tokenizer.json")
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    for text in ["", "A film, isn't it?", "café \U0001f600"]:
        ids = theirs(text)["input_ids"]
        assert ids == bpe.encode_document(text).tolist()
        assert theirs.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False) == text


def test_more_tokens_than_the_text_yields_are_refused_with_the_number_that_works() -> None:
    with pytest.raises(UserError, match=r"data\.vocab_size \(900\) must be 257 to \d+") as caught:
        train_bpe(["a rose is a rose is a rose"], vocab_size=900)
    most = int(re.search(r"257 to (\d+)", str(caught.value))[1])  # type: ignore[index]
    assert len(train_bpe(["a rose is a rose is a rose"], vocab_size=most)) == most


@pytest.mark.parametrize("harm", ["missing", "list", "cut", "words", "end", "latin"])
def test_another_kind_of_file_is_refused(bpe: Bpe, harm: str, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    found = json.loads(bpe.text)
    if harm == "words":
        found["model"] = {"type": "WordLevel", "vocab": {"<|endoftext|>": 0, "a": 1}, "unk_token": "a"}
    if harm == "end":
        found["added_tokens"] = []
        found["post_processor"] = None
        found["model"]["vocab"] = {token: (id_ or 400) for token, id_ in found["model"]["vocab"].items()}
    content = {"list": b'["a"]', "cut": bpe.text[:-9].encode(), "latin": b"\xff"}.get(harm, json.dumps(found).encode())
    if harm != "missing":
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"Tokenizer file .* cannot be used"):
        Bpe.load(path)
