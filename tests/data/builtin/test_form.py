"""Sections cover the song without gaps, and somewhere everybody plays."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kseparation.data.builtin.form import STEMS, draw_form


@given(st.integers(0, 10_000), st.integers(1, 40))
def test_sections_cover_all_bars(seed: int, bars: int) -> None:
    sections = draw_form(np.random.default_rng(seed), bars)
    assert [bar for section in sections for bar in range(section.first_bar, section.end_bar)] == list(range(bars))
    assert any(section.stems == frozenset(STEMS) for section in sections)
    assert min(len(section.stems) for section in sections) >= 2
