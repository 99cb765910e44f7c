"""Numbers in texts of users: ASCII digits alone, wherever a text becomes a number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.shards.files import remove_shards
from data_prep.tables.provenance import sweep
from evaluation.__main__ import main
from evaluation.finding import natural_key
from evaluation.studies.budget import QUICK
from lightning_artv.errors import UserError
from lightning_artv.numbers import size, whole_number

DIGIT_LIKE = ("²", "١", "１", "௧", "𝟙", "①")


@given(st.integers(0, 10**60))
def test_ascii_digits_are_the_number(number: int) -> None:
    assert whole_number(str(number)) == number


@pytest.mark.parametrize("text", [*DIGIT_LIKE, "", "-1", "1.0", " 1", "1_0", "9" * 5000])
def test_nothing_else_is_a_number(text: str) -> None:
    assert whole_number(text) is None


@given(st.lists(st.text(st.sampled_from([*"0129ab/.", *DIGIT_LIKE]), max_size=8)))
def test_any_names_sort(names: list[str]) -> None:
    assert sorted(sorted(names, key=natural_key), key=natural_key) == sorted(names, key=natural_key)


@pytest.mark.parametrize("digit", DIGIT_LIKE)
def test_options_refuse_digit_like_characters(
    digit: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for option in ("--devices", "--size"):
        value = f"{digit}x{digit}" if option == "--size" else digit
        assert main(["run", option, value]) == 2
        assert "must be" in capsys.readouterr().err
    assert main(["ablations", "--seeds", digit]) == 2
    assert "must be a whole number" in capsys.readouterr().err
    with pytest.raises(UserError, match="whole number"):
        QUICK.with_changes([f"steps={digit}"])


@pytest.mark.parametrize("clean", [sweep, remove_shards])
def test_cleaning_leaves_names_of_digit_like_characters(
    clean: Callable[[Path], None], tmp_path: Path
) -> None:
    kept = [tmp_path / f".x.{digit}.part" for digit in DIGIT_LIKE]
    kept += [tmp_path / f"{digit * 5}.tar" for digit in DIGIT_LIKE]
    for path in kept:
        path.touch()
    clean(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(kept)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (46_812_345, "46.8 MB"),
        (999_700, "1 MB"),
        (5_126_000_000, "5.13 GB"),
        (2 * 10**12, "2 TB"),
    ],
)
def test_a_size_has_the_unit_that_says_something(count: int, text: str) -> None:
    assert size(count) == text
