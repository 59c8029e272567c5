"""Pages and their tables as numbers alone: nothing is owned twice, everything comes back, running out is a sentence."""

import random

import pytest

from src.cache.pages import Pages
from src.errors import UserError


def make(num_pages, *, fixed=True, page_size=4):
    grown = []
    return Pages(page_size=page_size, num_pages=num_pages, fixed=fixed, grow=grown.append), grown


def owned(pages):
    return [page for table in pages.tables.values() for page in table]


def test_pages_are_owned_once_and_all_come_back():
    """A hundred random openings, extensions and closings; after each, every page is free or in exactly one table."""
    draw = random.Random(0)
    pages, _ = make(12)
    ends, number = {}, 0
    for _ in range(300):
        if ends and draw.random() < 0.3:
            closed = draw.choice(sorted(ends))
            pages.close(closed)
            del ends[closed]
        elif len(ends) < 3:
            pages.open(number, steps=0)
            ends[number] = 0
            number += 1
        else:
            grows = draw.choice(sorted(ends))
            ends[grows] = min(16, ends[grows] + draw.randint(1, 6))
            pages.reserve([grows], [ends[grows]])
        assert len(set(owned(pages))) == len(owned(pages)) == 12 - pages.num_free
        assert all(len(pages.tables[n]) == -(-end // 4) for n, end in ends.items())
    for left in list(ends):
        pages.close(left)
    assert pages.num_free == 12


def test_a_fixed_number_of_pages_runs_out_in_a_sentence_and_takes_nothing():
    pages, grown = make(3)
    pages.open(0, steps=0)
    pages.open(1, steps=0)
    pages.reserve([0], [8])
    with pytest.raises(UserError, match=r"cache.num_pages \(3\) is too small: 3 pages of 4 steps are needed, 1 are"):
        pages.reserve([0, 1], [9, 8])
    assert owned(pages) == [0, 1]
    assert grown == []


def test_pages_double_when_they_run_out_unless_more_are_needed_at_once():
    pages, grown = make(2, fixed=False)
    pages.open(0, steps=0)
    pages.reserve([0], [9])
    pages.reserve([0], [17])
    pages.reserve([0], [400])
    assert grown == [4, 8, 100]
    assert pages.num_pages == 100


def test_what_was_promised_is_not_given_to_a_newcomer():
    """Four pages, two promised to sequence 0: a text of three does not fit, one of two does, and 0 gets its own."""
    pages, _ = make(4)
    pages.open(0, steps=8)
    assert not pages.fits(12)
    with pytest.raises(UserError, match="2 are free"):
        pages.open(1, steps=12)
    pages.open(1, steps=8)
    assert not pages.fits(1)
    pages.reserve([1], [8])
    pages.reserve([0], [8])
    assert pages.num_promised == 0
