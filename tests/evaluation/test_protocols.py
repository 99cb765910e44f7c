"""Protocols: frozen presets, what their hash covers, changes, UCF-101's sentences."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from evaluation.prompts import UCF101, class_sentences, ucf101_classes
from evaluation.protocols import METRICS, PRESETS, Protocol, get_protocol, settings_hash
from lightning_artv.errors import UserError

# A preset never changes under its name. Whoever must change one gives it another name.
HASHES = {
    "ucf101-10k": "e3598edea009e8a6",
    "ucf101-2048": "3b4a431c2ed732e1",
    "ucf101-2k": "c3810ec13948a866",
    "msrvtt-2990": "5121f3ebcfc13685",
    "msrvtt-59800": "99cfc316ca2d6046",
    "msrvtt-2k": "11533e7696db0e9f",
    "webvid-2k": "2791561c6e198eda",
    "stylegan-v": "8832c7830ef71e78",
    "tats": "68b6c974ec9a5085",
}


def test_presets_are_frozen_and_keep_their_hashes() -> None:
    assert {name: p.hash[:16] for name, p in PRESETS.items()} == HASHES
    with pytest.raises(dataclasses.FrozenInstanceError):
        PRESETS["tats"].frames = 8  # type: ignore[misc]


@pytest.mark.parametrize("name", HASHES)
def test_presets_state_what_the_field_states(name: str) -> None:
    p = get_protocol(name)
    assert p.frames == 16 and p.clip_model == "openai/clip-vit-base-patch32"
    assert p.source and set(p.assumed) <= set(p.settings())
    assert all(len(why) > 10 for why in p.assumed.values())
    assert ("is" in p.metrics) == (p.dataset in ("ucf101", "folder"))


def test_presets_differ_where_published_variants_do() -> None:
    assert (PRESETS["tats"].eps, PRESETS["tats"].resolution, PRESETS["tats"].ddof) == (1e-5, 128, 1)
    assert (PRESETS["stylegan-v"].eps, PRESETS["stylegan-v"].ddof) == (1e-3, 0)
    assert PRESETS["ucf101-10k"].fake_count == 10_000
    assert PRESETS["msrvtt-59800"].fake_count == 2990 * PRESETS["msrvtt-59800"].captions_per_video
    assert {"real_count", "fake_count"} <= set(PRESETS["ucf101-2k"].assumed)
    assert not {"eps", "ddof", "antialias", "resize"} & set(PRESETS["tats"].assumed)


def test_every_field_that_moves_a_number_is_in_the_hash() -> None:
    base = PRESETS["ucf101-2048"]
    changes = {
        **{"dataset": "folder", "split": "test01", "real_count": None, "sampling": "random"},
        **{"fake_count": 3, "prompts": "caption", "captions_per_video": 2, "caption_rule": "all"},
        **{"frames": 9, "stride": 2, "fps": 8.0, "real_clip": "start", "fake_clip": "centre"},
        **{"resolution": 64, "resize": "crop", "antialias": True, "eps": 1e-5, "ddof": 0},
        **{"splits": 1, "clip_model": "x/y", "fid_skip": 0, "seed": 1},
        **{"division": "once"},
    }
    fixed = {"name", "source", "assumed", "metrics", "fit"}
    assert set(changes) | fixed == {f.name for f in dataclasses.fields(Protocol)}
    hashes = {dataclasses.replace(base, **{k: v}).hash for k, v in changes.items()}
    assert len(hashes | {base.hash}) == len(changes) + 1
    assert dataclasses.replace(base, name="other", metrics=("fvd",)).hash == base.hash
    assert settings_hash(yaml.safe_load(yaml.safe_dump(base.settings()))) == base.hash


def test_changes_mark_the_name_and_drop_assumptions_that_were_made_explicit() -> None:
    base = PRESETS["ucf101-2048"]
    changed = base.with_changes(["count=8", "eps=1e-5", "fps=8", "antialias=true"])
    assert changed.name == "ucf101-2048*" and changed.hash != base.hash
    assert (changed.real_count, changed.fake_count) == (8, 8)
    assert (changed.eps, changed.fps, changed.antialias) == (1e-5, 8.0, True)
    assert isinstance(changed.fps, float)
    assert set(base.assumed) - set(changed.assumed) == {"eps", "fps", "antialias"}
    assert changed.with_changes(["seed=1"]).name == "ucf101-2048*"
    assert base.with_changes(["real_count=null"]).real_count is None


def test_a_field_that_came_later_is_named_where_it_changes_something() -> None:
    base = PRESETS["ucf101-2048"]
    once = base.with_changes(["division=once"])
    assert once.settings()["division"] == "once" and "division" not in base.settings()
    assert once.name == "ucf101-2048*" and once.hash != base.hash
    assert once.with_changes(["division=averaged"]).hash == base.hash


def test_the_choice_of_metrics_changes_no_number_and_so_no_hash() -> None:
    chosen = PRESETS["ucf101-2048"].with_changes(["metrics=fvd,is"])
    assert chosen.metrics == ("fvd", "is") and chosen.name == "ucf101-2048"
    assert chosen.hash == PRESETS["ucf101-2048"].hash
    assert PRESETS["tats"].metrics == METRICS


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("framez=3", "got 'framez=3'"),
        ("frames", "field=value"),
        ("name=x", "field=value"),
        ("frames=many", "frames takes int, got 'many'"),
        ("frames=true", "frames takes int, got True"),
        ("frames=0", "frames must be at least 1, got 0"),
        ("fps=-1", "fps must be above 0"),
        ("antialias=1", "antialias takes bool, got 1"),
        ("resize=squash", "resize must be one of stretch, crop, got 'squash'"),
        ("metrics=fvd,psnr", "metrics must be some of"),
        ("eps=[", "not a value that YAML knows"),
    ],
)
def test_bad_changes_are_one_sentence(change: str, words: str) -> None:
    with pytest.raises(UserError) as error:
        PRESETS["tats"].with_changes([change])
    assert words in str(error.value) and "\n" not in str(error.value)


def test_unknown_protocols_are_named() -> None:
    with pytest.raises(UserError, match="no protocol 'ucf': use one of ucf101-10k"):
        get_protocol("ucf")


def test_our_sentences_cover_ucf101_in_its_own_order() -> None:
    sentences = yaml.safe_load(UCF101.read_text())
    assert len(sentences) == len(set(sentences.values())) == 101
    assert list(sentences) == ucf101_classes()  # classInd.txt ignores case: Hammering, HammerThrow
    assert list(sentences)[12:14] == ["BlowDryHair", "BlowingCandles"]
    assert list(sentences)[34:37] == ["Hammering", "HammerThrow", "HandstandPushups"]
    assert (min(sentences), list(sentences)[100]) == ("ApplyEyeMakeup", "YoYo")
    for sentence in sentences.values():
        assert sentence[0].isupper() and sentence.endswith(".") and len(sentence.split()) >= 5


def test_published_lists_come_from_files(tmp_path: Path) -> None:
    lines = tmp_path / "list.txt"
    lines.write_text("\n".join(f"sentence {i}" for i in range(101)))
    assert class_sentences(lines, ["YoYo", "Archery"]) == {
        "YoYo": "sentence 100",
        "Archery": "sentence 2",
    }
    own = tmp_path / "own.yaml"
    own.write_text("Archery: a bow\nOther: x\n")
    assert class_sentences(own, ["Archery"]) == {"Archery": "a bow"}
    with pytest.raises(UserError, match="no sentence for YoYo"):
        class_sentences(own, ["Archery", "YoYo"])
    lines.write_text("one\ntwo\n")
    with pytest.raises(
        UserError, match="must hold 101 sentences, one a class in alphabetical order, and holds 2"
    ):
        class_sentences(lines, ["YoYo"])
    own.write_text("Archery: {a: b}\n")
    with pytest.raises(UserError, match="'Class: sentence' lines only"):
        class_sentences(own, ["Archery"])
    with pytest.raises(UserError, match="no prompts file"):
        class_sentences(tmp_path / "none.yaml", ["Archery"])
