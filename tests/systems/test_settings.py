"""Settings of a system's own, changed by their dotted names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pytest

from lightning_artv.errors import UserError
from lightning_artv.systems.artv.settings import ARTVSampling, Guidance
from lightning_artv.systems.settings import setting_names, with_settings


@dataclass(frozen=True)
class Inner:
    depth: int = 2
    text: float | None = None


@dataclass(frozen=True)
class Toy:
    """Settings of a system unlike ART•V."""

    rounds: int = 3
    inner: Inner = Inner()
    keep: bool = False
    pace: Literal["slow", "fast"] = "slow"


def test_names_are_those_of_the_system() -> None:
    assert setting_names(Toy()) == ["rounds", "inner.depth", "inner.text", "keep", "pace"]
    assert "guidance.text" in setting_names(ARTVSampling())


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Toy()),
        ({"rounds": 5}, Toy(5)),
        ({"rounds": "5", "inner.text": "1e-2"}, Toy(5, Inner(2, 0.01))),
        ({"inner.text": "7", "inner.depth": 4}, Toy(3, Inner(4, 7.0))),
        ({"inner.text": "null", "keep": "true"}, Toy(keep=True)),
    ],
)
def test_values_and_texts_take_the_place_of_the_defaults(
    changes: dict[str, Any], expected: Toy
) -> None:
    made = with_settings(Toy(), changes)
    assert made == expected
    assert type(made.inner.text) is type(expected.inner.text)


def test_what_is_not_named_stays() -> None:
    start = ARTVSampling(steps=7, guidance=Guidance(1.0, 2.0, 3.0), noise_level=9)
    changed = with_settings(start, {"guidance.text": "4", "spacing": "trailing"})
    assert changed == ARTVSampling(
        steps=7, guidance=Guidance(1.0, 2.0, 4.0), noise_level=9, spacing="trailing"
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"noise_level": 3}, "no setting 'noise_level': Toy has rounds, inner.depth, inner.text"),
        ({"inner": "3"}, "no setting 'inner'"),
        ({"inner.width": "3"}, "no setting 'inner.width'"),
        ({"rounds": "many"}, "rounds cannot be 'many': give a whole number."),
        ({"rounds": "2.5"}, "rounds cannot be '2.5'"),
        ({"inner.text": "warm"}, "inner.text cannot be 'warm': give a number or null (none)."),
        ({"keep": "perhaps"}, "keep cannot be 'perhaps': give true or false."),
        ({"pace": "brisk"}, "pace cannot be 'brisk': give slow or fast."),
    ],
)
def test_wrong_names_and_values_are_one_sentence(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as caught:
        with_settings(Toy(), changes)
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"spacing": "karras"}, "spacing cannot be 'karras'"),
        ({"steps": "0"}, "0 steps: the number of denoising steps must be a whole number from 1"),
        ({"guidance.text": ".nan"}, "The guidance of the text must be a finite number"),
    ],
)
def test_a_settings_own_checks_speak(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        with_settings(ARTVSampling(), changes)


def test_a_first_frame_from_the_text_has_steps_and_guidance_of_its_own() -> None:
    plain = ARTVSampling(steps=3, guidance=Guidance(0, 0, 2.0))
    assert plain.solver(first=True) == plain.solver()
    assert plain.weights(first=True) == {"text": 2.0}
    own = with_settings(plain, {"first_steps": "20", "first_guidance": "0"})
    assert (own.solver(first=True).steps, own.solver().steps) == (20, 3)
    assert own.weights(first=True) == {"text": 0.0}
    assert (own.steps_of(5, given=False), own.steps_of(5, given=True)) == (32, 12)
