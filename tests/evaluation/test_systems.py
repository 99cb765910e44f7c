"""`python -m evaluation systems`: oracles of known behaviour, what is kept, what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from miniature import SYSTEM, write_checkpoint

from evaluation.__main__ import main
from evaluation.shapes.benchmark import DATA_SEED
from evaluation.systems import cost, job
from evaluation.systems.job import STILL, TRUTH, Comparison, Entry, run, starts_of
from evaluation.systems.measures import ALONE
from evaluation.systems.page import tables
from lightning_artv.checkpoints.file import embedded_config
from lightning_artv.errors import UserError
from lightning_artv.synthetic.scenes import scene_at
from lightning_artv.systems.artv.references import FrameConditions
from lightning_artv.systems.artv.settings import ARTVSampling
from lightning_artv.systems.artv.windows import NextFrame
from lightning_artv.systems.base import DenoisingStep, Origin, VideoSystem

torch.set_num_threads(1)
CLIPS, LONG, STRIDE = 4, 2, 2
SCENES = {
    s.caption(): s for s in (scene_at(i, DATA_SEED, "heldout", 32, None) for i in range(CLIPS))
}


class Oracle(VideoSystem):
    """Makes clips of 8 frames: the truth, or the first clip forwards and backwards in turn."""

    windows = NextFrame
    sampling = ARTVSampling(steps=1, noise_level=0)
    size_multiple = 1
    continues = True

    def __init__(self, turns: bool = False, fps: float = 4.0, alone: bool = True) -> None:
        super().__init__()
        self.turns, self.alone = turns, alone
        self.origin = Origin((32, 32), fps)

    def loss(self, batch, generators):
        raise NotImplementedError

    def check(self, request) -> None:
        if request.first_frame is None and not self.alone:
            raise UserError("It needs a picture.")

    def frames(self, request, observer=None) -> Iterator[torch.Tensor]:
        for t in range(request.segments[0].frames):
            if t % 8 == 0 and observer is not None:
                observer(DenoisingStep(t, 0, 0, torch.zeros(1)))
            clip, k = divmod(t, 8)
            at = t if not self.turns else k if clip % 2 == 0 else 7 - k
            scenes = [SCENES[prompt] for prompt in request.prompts_at(t)]
            frames = np.stack([scene.render(STRIDE * at) for scene in scenes])
            yield torch.from_numpy(frames).permute(0, 3, 1, 2)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of which videos were made; `knows`, `turns` and so on stand for checkpoints."""
    systems = {
        "knows": lambda: Oracle(),
        "turns": lambda: Oracle(turns=True),
        "asks": lambda: Oracle(alone=False),
        "fast": lambda: Oracle(fps=8.0),
    }
    found: list[str] = []
    generate = job._made

    def noted(comparison: Any, system: Any, *rest: Any) -> Any:
        found.append("turns" if system.turns else "knows")
        return generate(comparison, system, *rest)

    def measured(path: Path, changes: Any) -> dict[str, Any]:
        loaded.setattr(cost, "load_system", lambda p: systems[p.name]())
        return cost._measured(path, changes, ALONE)

    loaded = monkeypatch
    monkeypatch.setattr(job, "_made", noted)
    monkeypatch.setattr(job, "load_system", lambda path: systems[path.name]())
    monkeypatch.setattr(job, "path_digest", lambda path, _: path.name)
    monkeypatch.setattr(cost, "of_a_frame", measured)
    monkeypatch.setattr(cost, "of_the_training", lambda path: None)
    return found


def comparison(out: Path, *entries: Entry, **changes: int) -> Comparison:
    sizes = {"clips": CLIPS, "long_clips": LONG, "long_frames": 32, **changes}
    return Comparison(entries, out, **sizes)


def means(row: dict[str, Any], *names: str) -> list[float]:
    known = [[v for v in row["figures"][name] if v is not None] for name in names]
    return [float(np.mean(values)) for values in known]


KNOWS, TURNS = Entry("Knows", Path("knows"), {}), Entry("Turns", Path("turns"), {})


def test_an_oracle_reaches_the_truth_and_a_clip_that_turns_is_seen(
    made: list[str], tmp_path: Path
) -> None:
    rows = run(comparison(tmp_path, KNOWS, TURNS))
    best, turned, still = rows["Knows"], rows["Turns"], rows[STILL]
    assert best["figures"] == rows[TRUTH]["figures"]
    assert means(best, "psnr@1", "psnr@15", "far_psnr") == [100, 100, 100]
    words = ("direction", "speed", "color", "background", "far_in_place", "far_direction")
    assert means(best, *words, "alone_direction", "alone_background") == [1] * 8
    assert means(best, "alone_backwards", "given_place_kept") == [0, 1]
    scenes = list(SCENES.values())
    others = zip(scenes, [*scenes[1:], scenes[0]], strict=True)
    by_chance = [float(a.speed == b.speed) for a, b in others]
    assert 0 < np.mean(by_chance) < 1
    assert best["figures"]["speed_by_chance"] == by_chance
    # a first clip that is right, then the same backwards
    assert means(turned, "direction", "psnr@7") == [1, 100]
    assert means(turned, "given_backwards", "alone_backwards", "alone_again") == [1, 1, 1]
    assert means(turned, "given_jump", "alone_direction_kept", "far_in_place") == [0, 0, 0]
    assert max(means(turned, "psnr@15")) < 30
    assert means(still, "direction", "color", "far_alive", "far_in_place") == [0, 1, 1, 0]
    assert "alone_color" not in still["figures"]
    lengths = {name: sum(v is not None for v in found) for name, found in best["figures"].items()}
    assert (lengths["psnr@1"], lengths["far_psnr"], lengths["alone_jump"]) == (CLIPS, LONG, CLIPS)
    assert best["cost"]["clips"] == [0, 8, 16, 24]
    shown = tables(rows)["Joins of videos from captions alone"]
    assert [row[5] for row in shown.rows] == ["0%", "0%", "100%"]
    page = (tmp_path / "index.html").read_text()
    assert "Turns" in page and "data:image/gif" in page
    assert (tmp_path / "comparison.gif").read_bytes()[:3] == b"GIF"


def test_rows_that_are_there_are_measured_again_and_not_made_again(
    made: list[str], tmp_path: Path
) -> None:
    run(comparison(tmp_path, KNOWS))
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert made == ["knows"]
    run(comparison(tmp_path, KNOWS))
    assert made == ["knows"]
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    other = Entry("Knows", Path("knows"), {"steps": "2"})
    run(comparison(tmp_path, other))
    run(comparison(tmp_path, other, long_clips=1))
    assert made == ["knows"] * 3
    (tmp_path / "Knows.npz").unlink()
    run(comparison(tmp_path, other, long_clips=1))
    assert made == ["knows"] * 4


def test_what_a_system_cannot_make_is_said_and_left_out(made: list[str], tmp_path: Path) -> None:
    rows = run(comparison(tmp_path, Entry("Asks", Path("asks"), {})))
    assert rows["Asks"]["refused"] == {"alone": "It needs a picture."}
    assert "alone_color" not in rows["Asks"]["figures"]
    assert "It needs a picture." in (tmp_path / "index.html").read_text()
    assert "Asks" not in [row[0] for row in tables(rows)["From captions alone"].rows]


def test_ways_to_join_of_one_checkpoint_are_paired(made: list[str], tmp_path: Path) -> None:
    same = Entry("Knows too", Path("knows"), {"steps": "2"})
    rows = run(comparison(tmp_path, KNOWS, same, TURNS))
    table = tables(rows)["Joins from captions alone: differences of ways to join"]
    assert [row[0] for row in table.rows] == ["Knows too, less Knows"]
    assert table.rows[0][1] == "+0.00 (p 1, n 4)"


def test_what_cannot_be_compared_is_refused(made: list[str], tmp_path: Path) -> None:
    fast = Entry("Fast", Path("fast"), {})
    with pytest.raises(UserError, match=r"one frame rate.*Knows: 32 pixels, 4 a second, Fast"):
        run(comparison(tmp_path, KNOWS, fast))
    with pytest.raises(UserError, match="the same name"):
        comparison(tmp_path, KNOWS, KNOWS)
    with pytest.raises(UserError, match="2 clips"):
        comparison(tmp_path, KNOWS, long_clips=5)
    with pytest.raises(UserError, match="no setting 'stepz'"):
        run(comparison(tmp_path, Entry("Knows", Path("knows"), {"stepz": "2"})))
    assert not made and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "told"),
    [(["A"], "give a name and a checkpoint"), (["A", "a.ckpt", "steps"], "NAME=VALUE")],
)
def test_words_of_a_row(
    words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["systems", "--system", *words, "--out", str(tmp_path)]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("clips", "expected"),
    [
        ([0, 8, 12, 16], [0, 8, 12, 16, 20, 24, 28]),
        ([0, 8, 15, 22], [0, 8, 15, 22, 29]),
        ([0, 16], [0, 16]),
        ([0], [0, 8, 16, 24]),
        ([1, 2, 3], [0, 8, 16, 24]),
    ],
)
def test_where_clips_begin(clips: list[int], expected: list[int]) -> None:
    assert starts_of(clips, 32) == expected
    assert starts_of(clips, 12) == [start for start in expected if start < 12]


def test_the_cost_of_a_frame_in_a_process_of_its_own(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "last.ckpt", size=32)
    found = cost.of_a_frame(checkpoint, {"steps": "1"}, frames=4)
    twice = cost._measured(checkpoint, {"steps": "2"}, 4)
    assert found["clips"] == [1, 2, 3]  # the first frame is given
    assert twice["flops"] == pytest.approx(2 * found["flops"], rel=0.1)
    assert found["flops"] > 1e6
    assert found["seconds"] > 0 and found["memory_mb"] > 50


def test_the_cost_of_a_training_and_of_the_one_before(tmp_path: Path) -> None:
    paths = [tmp_path / "first.ckpt", tmp_path / "then.ckpt"]
    for path, before in zip(paths, (None, str(paths[0])), strict=True):
        write_checkpoint(path, size=32)
        config = embedded_config(
            {
                "model": {"system": SYSTEM, "init_from": before},
                "data": {"size": 32, "fps": 4.0, "batch_size": 6},
                "trainer": {"accumulate_grad_batches": 2},
            }
        )
        stored = torch.load(path, weights_only=True)
        torch.save({**stored, "lightning_artv": config, "global_step": 50}, path)
    first, both = (cost.of_the_training(path) for path in paths)
    assert first is not None and both is not None
    assert (first["steps"], first["samples"]) == (50, 600)
    assert both == {name: 2 * value for name, value in first.items()}
    assert first["flops"] / 600 == pytest.approx(3 * forward_flops(paths[0]), rel=0.15)
    paths[0].unlink()
    assert cost.of_the_training(paths[1]) is None


def test_attention_is_counted_on_the_cpu() -> None:
    q = torch.zeros(1, 2, 10, 8)
    with cost._counting() as counter:
        torch.nn.functional.scaled_dot_product_attention(q, q, q)
    assert counter.get_total_flops() == 2 * (2 * 2 * 10 * 10 * 8)  # QK^T and its product with V


def forward_flops(checkpoint: Path) -> int:
    """Of one sample through ART•V's denoiser; a backward pass costs twice as much."""
    system: Any = cost.load_part(checkpoint)
    latents, level = torch.zeros(1, 12, 16, 16), torch.zeros(1, dtype=torch.long)
    with cost._counting() as counter, torch.no_grad():
        conditions = FrameConditions.blank(latents, level)
        encoded = system.denoiser.encode((conditions, system.text_encoder(["a circle"])))
        system.denoiser.denoise(latents, level, encoded)
    return int(counter.get_total_flops())
