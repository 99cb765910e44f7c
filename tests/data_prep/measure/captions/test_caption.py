"""Captions around a label, and from models that see the video."""

from __future__ import annotations

import shutil
from pathlib import Path
from random import Random

import pytest
import torch
from caption_models import save_blip2, save_chat
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from prep_videos import listing, map_here, moving, stops_after, tree
from transformers import AutoModelForImageTextToText, AutoProcessor

from data_prep.__main__ import main
from data_prep.measure import columns
from data_prep.measure.captions import caption as caption_module
from data_prep.measure.captions.caption import Caption, one_of_each_part, write_captions
from data_prep.measure.captions.model import Answerer
from data_prep.measure.captions.prompts import OURS, load_prompts
from data_prep.options import EngineOptions
from data_prep.options.captions import AskOptions, CaptionOptions
from data_prep.tables import read_rows
from lightning_artv.data.encode import encode_lossless
from lightning_artv.errors import CorruptWeightsError, MissingWeightsError, UserError

ENGINE = EngineOptions(processes=1)
LABELS = ["Archery", "HandstandPushups", None, "Playing Guitar", "Archery", "射箭_2"]


@pytest.fixture(scope="module")
def blip2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_blip2(tmp_path_factory.mktemp("blip2") / "tiny-blip2")


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_chat(tmp_path_factory.mktemp("chat") / "tiny-llava")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six labelled videos, one of them no video, and one that had failed before."""
    folder = tmp_path_factory.mktemp("videos")
    rows = []
    for number, label in enumerate(LABELS):
        path = folder / f"{number}.mp4"
        path.write_bytes(b"no" if number == 4 else encode_lossless(moving(9 + number, number), 8))
        rows.append({"key": f"v{number}", "path": str(path), "caption": "old words"})
        rows[-1]["label"] = label  # type: ignore[assignment]
    rows.append({"key": "bad", "status": "failed", "error_kind": "missing_file", "error": "gone"})
    return listing(folder / "table.parquet", rows)


def captioned(table: Path, out: Path, **options) -> list[dict]:
    write_captions(table, out, CaptionOptions(device="cpu", **options), ENGINE)
    return read_rows(out)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "map_rows", map_here)


def test_a_template_has_each_label_and_needs_no_weights(
    tmp_path: Path, table: Path, here: None
) -> None:
    rows = captioned(table, tmp_path / "out")
    wanted = ["archery", "handstand pushups", "old words", "playing guitar", "archery", "射箭 2"]
    for row, label in zip(rows, wanted, strict=False):
        assert label in row["caption"] and row["source_caption"] == "old words"
        assert row["status"] == "ok" and row["captioner"].startswith("template ")
        assert row["caption"] in {t.format(label=label) for t in load_prompts(None).template}
    assert rows[-1]["status"] == "failed" and rows[-1]["error"] == "gone"
    other = captioned(table, tmp_path / "other", seed=3)
    assert [row["caption"] for row in rows] != [row["caption"] for row in other]


@given(st.text(min_size=1).filter(str.strip), st.text())
def test_every_sentence_of_ours_says_the_label(label: str, key: str) -> None:
    prompts = load_prompts(None)
    row = caption_module.from_template({"key": key, "caption": label}, prompts, 0)
    assert label in row["caption"]
    for sentence in (*prompts.chat, *prompts.plain, *prompts.relevance.values()):
        assert label in sentence.format(label=label)


@pytest.mark.parametrize("kind", ["blip2", "chat"])
def test_a_model_captions_what_it_sees_as_transformers_does(
    tmp_path: Path, table: Path, kind: str, request: pytest.FixtureRequest, here: None
) -> None:
    folder = request.getfixturevalue(kind)
    rows = captioned(table, tmp_path / "out", captioner=str(folder), max_tokens=12)
    good = [row for row in rows if row["status"] == "ok"]
    assert [row["key"] for row in good] == ["v0", "v1", "v2", "v3", "v5"]
    assert [row["error_kind"] for row in rows if row["status"] != "ok"] == [
        "not_a_video",
        "missing_file",
    ]
    assert len({row["caption"] for row in good}) > 1
    assert {row["captioner"] for row in good} == {
        f"{folder.name} sha256:{Answerer(str(folder), AskOptions(device='cpu')).name[-12:]}"
    }
    assert good[0]["caption"] == reference(folder, good[0], kind)


def reference(folder: Path, row: dict, kind: str) -> str:
    """What the model says, by hand: the frame and the sentence are those that the key draws."""
    model = AutoModelForImageTextToText.from_pretrained(folder).eval()
    processor = AutoProcessor.from_pretrained(folder)
    random, prompts = Random(f"0:{row['key']}"), load_prompts(None)
    sentences = prompts.chat if kind == "chat" else prompts.plain
    prompt = random.choice(sentences).format(label="archery")
    frame = moving(9, 0)[random.randrange(9)]
    if kind == "chat":
        text = f"<image> {prompt} Answer :"
        inputs = processor(images=[Image.fromarray(frame)], text=text, return_tensors="pt")
    else:
        inputs = processor(images=Image.fromarray(frame), text=prompt, return_tensors="pt")
    with torch.no_grad():
        tokens = model.generate(**inputs, max_new_tokens=12, do_sample=False)[0]
    new = tokens[len(inputs["input_ids"][0]) :] if kind == "chat" else tokens
    if kind != "chat" and torch.equal(
        tokens[: inputs["input_ids"].shape[1]], inputs["input_ids"][0]
    ):
        new = tokens[inputs["input_ids"].shape[1] :]
    return processor.tokenizer.decode(new, skip_special_tokens=True).strip()


def test_what_a_model_is_told_and_sees_changes_the_caption(chat: Path) -> None:
    model = Answerer(str(chat), AskOptions(device="cpu"))
    frames = torch.from_numpy(moving(2, 3)).permute(0, 3, 1, 2)
    said = {
        model.answer(frames[:1], "what does the dog do ?", 12),
        model.answer(frames[1:], "what does the dog do ?", 12),
        model.answer(frames, "what does the dog do ?", 12),
        model.answer(frames[:1], "what does the horse do ?", 12),
    }
    assert len(said) == 4
    assert not any("what does" in text for text in said)  # not the question once more


def test_several_frames_go_to_a_model_that_chats_only(
    tmp_path: Path, table: Path, blip2: Path, chat: Path, here: None
) -> None:
    three = captioned(table, tmp_path / "3", captioner=str(chat), frames=3)
    one = captioned(table, tmp_path / "1", captioner=str(chat))
    assert three[0]["caption"] != one[0]["caption"]
    with pytest.raises(UserError, match="sees one picture: leave --frames 3 out"):
        captioned(table, tmp_path / "blip2", captioner=str(blip2), frames=3)


@given(st.integers(1, 50), st.integers(1, 60), st.integers(0, 9))
def test_one_frame_of_each_part_is_drawn(total: int, parts: int, seed: int) -> None:
    chosen = one_of_each_part(total, parts, Random(seed))
    assert len(chosen) == len(set(chosen)) == min(parts, total)
    for part, index in enumerate(chosen):
        assert part * total // len(chosen) <= index < (part + 1) * total // len(chosen)


def test_a_killed_run_goes_on_with_the_same_result(
    tmp_path: Path, table: Path, chat: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "CHUNK", 2)
    monkeypatch.setattr(columns, "map_rows", map_here)
    captioned(table, tmp_path / "whole", captioner=str(chat))

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(columns, "map_rows", stops_after(3))
        captioned(table, tmp_path / "out", captioner=str(chat))
    asked: list[str] = []
    answer = Answerer.answer

    def counted(self, *rest):
        asked.append("")
        return answer(self, *rest)

    monkeypatch.setattr(Answerer, "answer", counted)
    captioned(table, tmp_path / "out", captioner=str(chat))
    assert 0 < len(asked) < 5  # what was done is not done again
    assert (tmp_path / "out").read_bytes() == (tmp_path / "whole").read_bytes()


def test_any_number_of_processes_give_the_same_bytes(
    tmp_path: Path, table: Path, blip2: Path
) -> None:
    for processes in (1, 2):
        options = CaptionOptions(device="cpu", captioner=str(blip2))
        out = tmp_path / str(processes) / "out.parquet"
        out.parent.mkdir()
        write_captions(table, out, options, EngineOptions(processes=processes))
    assert tree(tmp_path / "1") == tree(tmp_path / "2")


def test_missing_weights_exit_3_and_odd_models_say_what_they_are(
    tmp_path: Path, table: Path, blip2: Path, clip_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["caption", str(table), str(tmp_path / "out"), "--processes", "1", "--captioner"]
    assert main([*line, str(tmp_path / "none")]) == 3
    assert "does not exist" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main([*line, str(tmp_path / "empty")]) == 3
    assert capsys.readouterr().err.count("\n") == 1
    broken = Path(shutil.copytree(blip2, tmp_path / "broken"))
    (broken / "processor_config.json").unlink()
    (broken / "tokenizer.json").unlink()
    with pytest.raises(MissingWeightsError, match="holds no processor of pictures and text"):
        Answerer(str(broken), AskOptions())
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(CorruptWeightsError):
        Answerer(str(broken), AskOptions())
    with pytest.raises(UserError, match="is a clip, which answers no questions about pictures"):
        Answerer(str(clip_folder), AskOptions())
    assert not list(tmp_path.glob("out*/0*"))


def test_a_model_s_own_code_is_never_run(tmp_path: Path, blip2: Path) -> None:
    folder = Path(shutil.copytree(blip2, tmp_path / "own"))
    marker = tmp_path / "ran"
    code = f"open({str(marker)!r}, 'w')\n"
    (folder / "own.py").write_text(code)
    text = (
        (folder / "config.json")
        .read_text()
        .replace('"model_type": "blip-2"', '"model_type": "own"')
    )
    mapped = '{"auto_map": {"AutoConfig": "own.C", "AutoModelForImageTextToText": "own.M"},'
    (folder / "config.json").write_text(mapped + text.lstrip()[1:])
    with pytest.raises(UserError, match="transformers does not know the model"):
        Answerer(str(folder), AskOptions())
    assert not marker.exists()


def test_other_prompts_are_another_making(tmp_path: Path, table: Path, here: None) -> None:
    ours = OURS.read_text(encoding="utf-8")
    own = tmp_path / "own.yaml"
    own.write_text(ours.replace("a video of {label}", "look, {label}"), encoding="utf-8")
    captioned(table, tmp_path / "out", prompts=str(own))
    own.write_text(ours, encoding="utf-8")
    with pytest.raises(UserError, match="was made with another prompts"):
        captioned(table, tmp_path / "out", prompts=str(own))


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ("  - a clip of {label}", "  - a clip", "'a clip' in the prompts .* needs {label}"),
        ("  - a clip of {label}", "  - a {0} of {label}", "needs {label} and no other braces"),
        ("  - a clip of {label}", "  - a { of {label}", "needs {label} and no other braces"),
        ("template:", "templates:", "need the keys template, chat, plain and relevance"),
        ('  plain: "Question: does', '  odd: "Question: does', "needs the keys chat and plain"),
    ],
)
def test_odd_prompts_are_one_sentence(
    tmp_path: Path, before: str, after: str, sentence: str
) -> None:
    text = OURS.read_text(encoding="utf-8")
    assert before in text
    (tmp_path / "p.yaml").write_text(text.replace(before, after, 1), encoding="utf-8")
    with pytest.raises(UserError, match=sentence):
        load_prompts(str(tmp_path / "p.yaml"))


def test_the_options_are_refused_in_one_sentence() -> None:
    for wrong in ({"frames": 0}, {"max_tokens": 0}, {"dtype": "float16"}):
        with pytest.raises(UserError):
            CaptionOptions(**wrong)
    assert Caption(CaptionOptions()).schema.names[0] == "caption"
