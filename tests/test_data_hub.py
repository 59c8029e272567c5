"""Data sets by name: a copy that needs no network stands in for the hub."""

import sys
import time
from pathlib import Path

import pytest

from src.data import hub
from src.data.source import read_corpus
from src.errors import UserError

datasets = pytest.importorskip("datasets", reason="the package datasets is not installed (extra: hub)")


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A data set that `datasets` loads by its path as it would load one by its name."""
    monkeypatch.setattr(hub, "_is_reachable", lambda endpoint: True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "owner" / "name"
    folder.mkdir(parents=True)
    (folder / "train.csv").write_text("text,label\ngood,1\nbad,0\n")
    (folder / "test.csv").write_text("text,label\nfine,1\n")
    return str(folder)


def test_rows_of_a_named_data_set_come_back(copy: str) -> None:
    source = hub.read_hub(copy, text_column="text", label_column="label")
    assert source.split_names == ("train", "test")
    table = source.read("train")
    assert list(table.texts) == ["good", "bad"]
    assert list(table.labels) == [1, 0]
    assert table.where(1).endswith("split train, row 1")


def test_the_fingerprint_follows_the_rows(copy: str) -> None:
    one = hub.read_hub(copy, text_column="text", label_column="label").fingerprint
    assert hub.read_hub(copy, text_column="text", label_column="label").fingerprint == one
    (Path(copy) / "train.csv").write_text("text,label\ngood,1\nbad,1\n")
    assert hub.read_hub(copy, text_column="text", label_column="label").fingerprint != one


def test_a_missing_column_is_named_with_those_that_exist(copy: str) -> None:
    with pytest.raises(UserError, match="has no column stars; it has text, label"):
        hub.read_hub(copy, text_column="text", label_column="stars")


def test_a_data_set_that_cannot_be_loaded_is_the_users_error(copy: str) -> None:
    for path in Path(copy).iterdir():
        path.unlink()
    with pytest.raises(UserError, match="cannot be loaded from the hub") as caught:
        hub.read_hub(copy, text_column="text", label_column="label")
    assert "\n" not in str(caught.value)


def test_without_network_the_refusal_comes_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Left to itself the library retries for 23 seconds before it gives up."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    start = time.monotonic()
    with pytest.raises(UserError, match="the hub cannot be reached") as caught:
        read_corpus(path="nobody/has-such-a-data-set")
    assert time.monotonic() - start < 15
    assert "data=demo" in str(caught.value)
    assert "data.path=" in str(caught.value)


def test_a_name_server_that_never_answers_counts_as_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: object, **__: object) -> None:
        time.sleep(0.5)
        raise OSError("too late")

    monkeypatch.setattr(hub, "PROBE_SECONDS", 0.1)
    monkeypatch.setattr(hub.urllib.request, "urlopen", hang)
    assert not hub._is_reachable("http://127.0.0.1:9")


def test_without_the_package_the_way_to_install_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_is_reachable", lambda endpoint: True)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match="pip install datasets"):
        read_corpus(path="stanfordnlp/imdb")
