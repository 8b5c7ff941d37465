"""Settings that belong together: a record in the code, a mapping in a config."""

from dataclasses import dataclass

import pytest

from kseparation.config.settings import settings_of


@dataclass(frozen=True)
class Size:
    width: int = 3
    depth: int = 2


def test_a_record_a_mapping_or_nothing_give_a_record():
    assert settings_of(Size, None, "size") == settings_of(Size, {}, "size") == Size()
    assert settings_of(Size, {"depth": 5}, "size") == Size(3, 5)
    record = Size(7)
    assert settings_of(Size, record, "size") is record


def test_an_unknown_key_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="`size.widht` is not a setting of `size`. Did you mean `width`?"):
        settings_of(Size, {"widht": 3}, "size")
