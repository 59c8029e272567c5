"""mistakes_val.json and mistakes_test.json: the wrong predictions that the network was most certain of."""

import json

import numpy as np

from src.run.folder import RunFolder
from src.run.mistakes import LETTERS, MOST, most_confident, read_mistakes, write_mistakes


class Told:
    """Stands for a data module."""

    def __init__(self, whole: bool = True) -> None:
        self.whole, self.asked = whole, []

    def texts(self, split, rows):
        self.asked.append((split, list(rows)))
        return [f"text {row} " + "x" * row for row in rows], self.whole


def drawn(count: int = 300, classes: int = 3) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    return {
        "rows": draw.permutation(1000)[:count],
        "labels": draw.integers(classes, size=count),
        "probabilities": draw.dirichlet(np.ones(classes), size=count).astype("f4"),
    }


def test_they_are_those_of_a_plain_sort():
    """Wrong by the most probable class, the most probable first, no more than 20."""
    found = drawn()
    slow = [
        (-float(max(p)), int(row), int(label), int(np.argmax(p)))
        for row, label, p in zip(*found.values(), strict=True)
        if np.argmax(p) != label
    ]
    expected = [
        {"row": row, "label": label, "predicted": predicted, "probability": -sure}
        for sure, row, label, predicted in sorted(slow)[:MOST]
    ]
    assert most_confident(**found) == expected


def test_the_file_holds_their_texts_cut_and_says_so(tmp_path):
    """The data module is asked for these rows only."""
    data, found = Told(), drawn()
    write_mistakes(RunFolder(tmp_path), "val", found, data)
    kept = json.loads((tmp_path / "mistakes_val.json").read_text())
    rows = [entry["row"] for entry in kept["mistakes"]]
    assert data.asked == [("val", rows)]
    assert kept["text_is"] == "source"
    for entry in kept["mistakes"]:
        text = f"text {entry['row']} " + "x" * entry["row"]
        assert entry["text"] == text[:LETTERS]
        assert entry["cut"] == (len(text) > LETTERS)
    assert read_mistakes(tmp_path, "val") == kept
    write_mistakes(RunFolder(tmp_path), "test", found, Told(whole=False))
    assert read_mistakes(tmp_path, "test")["text_is"] == "tokens"


def test_a_network_without_mistakes_writes_none(tmp_path):
    """An empty list, not a missing file."""
    right = {"rows": np.arange(3), "labels": np.array([0, 1, 1]), "probabilities": np.eye(2)[[0, 1, 1]]}
    write_mistakes(RunFolder(tmp_path), "val", right, Told())
    assert read_mistakes(tmp_path, "val")["mistakes"] == []


def test_another_file_of_that_name_is_none(tmp_path):
    """Damage costs the texts, not the report."""
    for text in ("", "[1]", '{"mistakes": 3}', '{"mistakes": [3]}'):
        (tmp_path / "mistakes_val.json").write_text(text)
        assert read_mistakes(tmp_path, "val") == {}
