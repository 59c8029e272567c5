"""metrics.csv: its end alone tells what all of it tells, and many files are read in their order."""

import random
import threading

import pytest

from src.run.metrics import last_values, read_rows
from src.run.waiting import in_threads


@pytest.mark.parametrize("rows", [0, 1, 7, 3000])
def test_the_last_values_are_those_of_reading_all_rows(tmp_path, rows):
    """3,000 rows are more than the end that is read; every column is written every 50 rows."""
    chance, file = random.Random(rows), tmp_path / "metrics.csv"
    names = ["epoch", "step", *(f"val/metric_{number}" for number in range(20))]
    lines = [",".join(names)]
    for step in range(rows):
        cells = [str(chance.random()) if chance.random() < 0.2 or step % 50 == 0 else "" for _ in names[2:]]
        lines.append(",".join([str(step // 100), str(step), *cells]))
    file.write_text("\n".join(lines) + "\n" + "9,9999,0.5")
    expected = {}
    for row in read_rows(file):
        expected |= row
    assert len(read_rows(file)) == rows
    assert last_values(file) == expected
    assert 9999 not in expected.values(), "the last line is still being written"
    if rows == 3000:
        assert file.stat().st_size > 128 * 1024


def test_words_empty_cells_damage_and_missing_files_are_no_values(tmp_path):
    file = tmp_path / "metrics.csv"
    assert last_values(file) == {}
    assert read_rows(file) == []
    file.write_bytes(b"step,a,b\n1,True,\n2,0.5\n\0\n3,nan,x,y,z\n\xff,7,\n")
    rows = read_rows(file)
    assert rows[:2] == [{"step": 1.0}, {"step": 2.0, "a": 0.5}]
    assert str(rows[2]) == "{'step': 3.0, 'a': nan}"
    assert rows[3] == {"a": 7.0}
    assert last_values(file) == {"step": 3.0, "a": 7.0}
    file.write_text("")
    assert last_values(file) == {}


def test_threads_keep_the_order_and_few_items_need_none():
    here = threading.get_ident()
    assert in_threads(lambda item: (item, threading.get_ident() == here), list(range(5))) == [
        (n, True) for n in range(5)
    ]
    many = in_threads(lambda item: (item, threading.get_ident() == here), list(range(1000)))
    assert many == [(number, False) for number in range(1000)]
    with pytest.raises(ZeroDivisionError):
        in_threads(lambda item: 1 // (item - 700), list(range(1000)))
