"""A mistyped path is answered in one sentence before torch is imported, by every subcommand."""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from lightning_artv.errors import MissingWeightsError, UserError
from lightning_artv.given import check_given, check_weights_given

LIGHTNING, EVALUATION, DATA_PREP = "lightning_artv.cli", "evaluation.__main__", "data_prep.__main__"
GENERATE = "generate --checkpoint HERE --output o.mp4"
RUN = "--checkpoint HERE --data HERE --out o"
CASES = [
    (LIGHTNING, "generate --checkpoint NONE --prompt p --output o.mp4", 2),
    (LIGHTNING, f"{GENERATE} --prompts NONE", 2),
    (LIGHTNING, f"{GENERATE} --storyboard NONE", 2),
    (LIGHTNING, f"{GENERATE} --prompt p --image NONE", 2),
    (LIGHTNING, f"{GENERATE} --prompt p --first-frame-model NONE", 3),
    (LIGHTNING, "export --checkpoint NONE --output o", 2),
    (LIGHTNING, "consolidate --checkpoint NONE --output o", 2),
    *((LIGHTNING, f"{name} --config NONE", 2) for name in ("fit", "validate", "test", "predict")),
    *(
        (LIGHTNING, f"{name} --config configs/artv/demo.yaml --ckpt_path NONE", 2)
        for name in ("fit", "validate", "test", "predict")
    ),
    (LIGHTNING, "fit --config configs/artv/demo.yaml --ckpt_path=NONE", 2),
    (LIGHTNING, "fit --config configs/artv/demo.yaml --data.train NONE", 5),
    (EVALUATION, "run --checkpoint NONE --data HERE --out o", 2),
    (EVALUATION, f"run {RUN} --first-frame-model NONE", 3),
    (EVALUATION, "generate --checkpoint HERE --data NONE --out o", 2),
    (EVALUATION, f"generate {RUN} --prompts NONE", 2),
    (EVALUATION, "score --data NONE --fake HERE --out o", 2),
    (EVALUATION, "score --data HERE --fake NONE --out o", 2),
    (EVALUATION, "compare HERE NONE", 2),
    (EVALUATION, "report NONE --out o", 2),
    (EVALUATION, "shapes --checkpoint NONE --classifier HERE --out o", 2),
    (EVALUATION, "ablations --config NONE", 2),
    (EVALUATION, "ablations-report NONE", 2),
    (EVALUATION, "ablations-shots NONE", 2),
    (EVALUATION, "ablations-full --checkpoints NONE", 2),
    (EVALUATION, "ablations-full --checkpoints HERE --data-webvid NONE", 2),
    (DATA_PREP, "run NONE", 2),
    (DATA_PREP, "folder NONE o", 2),
    (DATA_PREP, "motion NONE o.parquet --kind webvid", 2),
    (DATA_PREP, "motion HERE o.parquet --kind webvid --videos NONE", 2),
    *((DATA_PREP, f"{name} NONE o", 2) for name in ("clip", "select", "shards")),
    (DATA_PREP, "clip HERE o --pretrained NONE", 3),
    (DATA_PREP, "caption HERE o --captioner NONE", 3),
    (DATA_PREP, "caption NONE o", 2),
    (DATA_PREP, "segment HERE o --clip NONE", 3),
    (DATA_PREP, "segment HERE o --ask NONE", 3),
    (DATA_PREP, "segment NONE o", 2),
    (DATA_PREP, "images NONE o", 2),
    (DATA_PREP, "latents NONE o --pretrained HERE", 5),
    (DATA_PREP, "latents HERE o --pretrained NONE", 3),
    (DATA_PREP, "check NONE", 2),
    (DATA_PREP, "check HERE --repair NONE", 2),
    (DATA_PREP, "report NONE", 2),
    ("lightning_artv.demo.__main__", "--config NONE", 2),
]

TRY_ALL = """
import contextlib, importlib, io, json, sys
results = []
for module, arguments in json.load(sys.stdin):
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        code = importlib.import_module(module).main(arguments)
    heavy = sorted({"torch", "lightning", "transformers", "cv2", "av"} & set(sys.modules))
    results.append([code, said.getvalue(), heavy])
print(json.dumps(results))
"""


def test_every_subcommand_names_a_mistyped_path_before_heavy_imports(tmp_path: Path) -> None:
    places = {"NONE": str(tmp_path / "none"), "HERE": str(tmp_path)}
    commands = []
    for module, text, _ in CASES:
        for word, place in places.items():
            text = text.replace(word, place)
        commands.append((module, text.split()))
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", TRY_ALL],
        input=json.dumps(commands),
        cwd=root,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])
    assert len(results) == len(CASES)
    for (_, text, expected), (code, said, heavy) in zip(CASES, results, strict=True):
        assert (code, heavy) == (expected, []), f"{text}: {said}"
        assert said.startswith("error: ") and said.count("\n") == 1 and places["NONE"] in said


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("lst.ckpt", "There is no checkpoint '{}/lst.ckpt': did you mean '{}/last.ckpt'?"),
        ("other", "There is no checkpoint '{}/other'."),
        ("no/last.ckpt", "There is no checkpoint '{}/no/last.ckpt'."),
        ("a" * 5000, "There is no checkpoint '{}/" + "a" * 5000 + "'."),
        ("a\0b", "There is no checkpoint '{}/a\0b'."),
    ],
)
def test_a_near_name_is_suggested(tmp_path: Path, typed: str, words: str) -> None:
    (tmp_path / "last.ckpt").touch()
    check_given(Namespace(checkpoint=tmp_path / "last.ckpt"), {"checkpoint": "checkpoint"})
    with pytest.raises(UserError) as raised:
        check_given(Namespace(checkpoint=f"{tmp_path}/{typed}"), {"checkpoint": "checkpoint"})
    assert str(raised.value) == words.replace("{}", str(tmp_path))


def test_patterns_and_hub_ids_are_left_to_their_readers(tmp_path: Path) -> None:
    for pattern in ("none/{00..09}.tar", "none/*.tar", "s3://none/a.tar", "['a', 'b']"):
        check_given(Namespace(shards=pattern), {"shards": "folder"})
    for name in ("owner/name", str(tmp_path), None):
        check_weights_given(name)
    for name in ("./none/x", "/none", "~/none/x", "a/b/c"):
        with pytest.raises(MissingWeightsError, match="does not exist"):
            check_weights_given(name)
