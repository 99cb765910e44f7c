"""Claims: the tests against scipy, verdicts on results whose truth is known."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from study_results import GUIDANCE, T_TEST, write_results

from evaluation.studies.artv.study import GUIDED, OPTIMUM, STUDY
from evaluation.studies.claims import findings
from evaluation.studies.findings import Finding, compare
from evaluation.studies.grid import BySeed, Grid, Run, read_grid, values
from evaluation.studies.ranking import Ranking, best_variant, rankings
from evaluation.studies.significance import (
    effect_size,
    holm,
    interval,
    pairs_needed,
    sign_flip,
)

SMALL = ("full", "no_mask", "static_residual", "static_literal")


def run(per_clip: dict[str, list[float]] | None = None, **metrics: float) -> Run:
    cells = {name: np.array(v, float) for name, v in (per_clip or {}).items()}
    protocol = {"clips": 3, "sampling": {"guidance": {"text": 0.0}}}
    return Run(Path("x"), metrics, cells, {}, {}, {}, {"protocol": protocol, "mask": None})


def interior_optimum(grid: Grid, metric: str) -> Finding:
    return OPTIMUM.tested(grid, metric)


def text_guidance_helps(grid: Grid) -> Finding:
    (claim,) = (claim for claim in GUIDED if claim.sweep == "guidance_text")
    return dataclasses.replace(claim, metric="FVD").tested(grid)


def rank_forms(grid: Grid, metric: str) -> Ranking:
    return next(ranking for ranking in rankings(grid) if ranking.metric == metric)


def find(found: list[Finding], start: str, metric: str) -> Finding:
    (only,) = (f for f in found if f.claim.startswith(start) and f.metric == metric)
    return only


def test_arms_are_paired_by_seed_whatever_their_order() -> None:
    better = {0: run(FVD=1.0), 1: run(FVD=5.0), 2: run(FVD=9.0)}
    worse = {2: run(FVD=9.5), 7: run(FVD=0.0), 0: run(FVD=1.6), 1: run(FVD=5.4)}
    found = compare("it helps", "ours", "FVD", ("with", better), ("without", worse))
    assert found.differences == pytest.approx((0.6, 0.4, 0.5))  # a lower FVD is better
    assert found.better.seeds == (0, 1, 2) and found.verdict == "reproduced"
    assert found.p_seeds == pytest.approx(scipy.stats.ttest_1samp((0.6, 0.4, 0.5), 0).pvalue)
    turned = compare("it helps", "ours", "FVD", ("without", worse), ("with", better))
    assert turned.verdict == "contradicted" and turned.p_seeds == found.p_seeds
    assert turned.difference == pytest.approx(-found.difference)


def test_clips_are_paired_and_those_without_a_number_left_out() -> None:
    nan = math.nan
    better = {s: run({"direction@16": [1, 1, nan, 1]}, **{"direction@16": 1.0}) for s in (0, 1)}
    worse = {s: run({"direction@16": [s, 0, 0, 1]}, **{"direction@16": 0.3}) for s in (0, 1)}
    found = compare("c", "ours", "direction@16", ("a", better), ("b", worse))
    assert found.clips == 3 and found.p_clips == pytest.approx(sign_flip([0.5, 1.0, 0.0]))
    assert (
        compare("c", "ours", "FVD", ("a", {0: run(FVD=1.0)}), ("b", {0: run(FVD=2.0)})).clips == 0
    )


def test_effects_are_found_in_their_direction_and_noise_is_not(tmp_path: Path) -> None:
    worse = {
        "lasts": -3.0,
        "identity": -3.0,
        "background_psnr@127": -3.0,
        "FVD": 20.0,
        "FVD@128": 30.0,
    }
    better = {name: -value for name, value in worse.items()}
    write_results(tmp_path, {"no_mask": worse, "no_anchor": better})
    found = findings(read_grid(tmp_path))
    for metric, value in worse.items():
        mask, anchor = (find(found, f"the {part} lowers", metric) for part in ("mask", "anchor"))
        assert mask.verdict == "reproduced" and anchor.verdict == "contradicted"
        assert mask.difference == pytest.approx(abs(value), abs=0.6)
        assert anchor.difference == pytest.approx(-abs(value), abs=0.6)
        assert mask.primary == anchor.primary == (metric == "FVD@128")
    mask = find(found, "the mask lowers", "background_psnr@127")
    assert mask.clips == 6 and mask.p_clips == pytest.approx(2 / 2**6)
    assert mask.sentence().startswith(
        "Reproduced: the mask lowers drift; background PSNR, frame 127"
    )
    assert f"with it {mask.better.mean:.2f} ± {mask.better.sd:.2f} dB" in mask.sentence()
    assert "over 3 seeds" in mask.sentence() and "in favour" in mask.sentence()
    noise = [f for f in found if f.claim.startswith("noise augmentation")]
    assert [f.verdict for f in noise] == ["undecided"] * 5


def test_holm_covers_the_whole_family(tmp_path: Path) -> None:
    write_results(tmp_path, {"no_mask": {"FVD@128": 50.0}})
    found = findings(read_grid(tmp_path))
    tested = [f for f in found if f.primary and f.p_seeds is not None]
    assert {f.p_holm for f in found if not f.primary} == {None}
    assert [f.p_holm for f in tested] == pytest.approx(holm([f.p_seeds for f in tested]))
    smallest = min(tested, key=lambda f: f.p_seeds)
    assert smallest.p_holm == pytest.approx(min(1, len(tested) * smallest.p_seeds))


def test_one_seed_gives_numbers_but_no_test(tmp_path: Path) -> None:
    write_results(tmp_path, {"no_mask": {"FVD": 50.0}}, seeds=[4], variants=SMALL)
    found = findings(read_grid(tmp_path))
    assert {f.verdict for f in found} == {"not tested"}
    fvd = find(found, "the mask lowers", "FVD")
    assert fvd.p_seeds is fvd.p_holm is None and fvd.difference == pytest.approx(50, abs=1)
    assert "without a test, which needs two seeds" in fvd.sentence()
    assert "over 1 seed," in fvd.sentence() and "nan" not in " ".join(f.sentence() for f in found)


def test_what_was_not_run_is_said(tmp_path: Path) -> None:
    write_results(tmp_path, variants=("full", "no_mask"))
    found = findings(read_grid(tmp_path))
    anchor = find(found, "the anchor", "FVD")
    assert anchor.verdict == "not tested" and math.isnan(anchor.difference)
    assert anchor.sentence().endswith("shapes-FVD was not measured (without it).")
    assert "the residual form was not run" in find(found, "the mask's mean", "mask mean").sentence()


@pytest.mark.parametrize(
    ("optimum", "verdict"), [(200, "reproduced"), (0, "contradicted"), (400, "contradicted")]
)
def test_an_optimum_of_the_noise_level_is_inside_or_not(
    optimum: int, verdict: str, tmp_path: Path
) -> None:
    write_results(tmp_path, variants=("full",), optimum=optimum, seed_sd=0.02, clip_sd=0.1)
    for metric in ("FVD", "background_psnr@15"):
        found = interior_optimum(read_grid(tmp_path), metric)
        assert found.verdict == verdict
        assert f"best over all seeds at t_test = {optimum}" in found.note
        assert f"seed by seed at {optimum}, {optimum}, {optimum}" in found.note


def test_an_optimum_must_beat_both_ends(tmp_path: Path) -> None:
    """Inside is far better than 0 but as good as the other end: that is no optimum inside."""
    levels = {
        v: {s: run(FVD=fvd + 0.1 * s * (v % 3)) for s in (0, 1, 2)}
        for v, fvd in ((0, 90.0), (100, 50.0), (200, 50.05))
    }
    found = interior_optimum(grid_of(levels), "FVD")
    assert found.verdict == "undecided" and found.worse.name == "at 200"


def grid_of(levels: dict[float, BySeed]) -> Grid:
    sweeps = {"t_test": levels, "guidance_text": levels}
    return Grid(STUDY, Path("x"), {"variants": [], "sweeps": []}, {}, sweeps, ())


def test_a_best_level_is_not_tested_on_what_chose_it() -> None:
    """Of flat sweeps, at most the test's own 5 % may show a gain, nine levels or not."""
    noise = np.random.default_rng(0)
    hits = 0
    for _ in range(120):
        levels = {v: {s: run(FVD=noise.normal()) for s in range(3)} for v in range(9)}
        hits += text_guidance_helps(grid_of(levels)).verdict == "reproduced"
    assert hits / 120 <= 0.05


def test_too_few_levels_have_no_inside() -> None:
    found = interior_optimum(grid_of({v: {0: run(FVD=1.0)} for v in (0, 200)}), "FVD")
    assert found.verdict == "not tested" and "fewer than three noise levels" in found.sentence()


@pytest.mark.parametrize(
    ("rising", "verdict"), [(0.5, "reproduced"), (-0.5, "contradicted"), (0.0, "undecided")]
)
def test_the_masks_rise(rising: float, verdict: str, tmp_path: Path) -> None:
    write_results(tmp_path, variants=("full", "static_residual"), rising=rising)
    found = find(findings(read_grid(tmp_path)), "the mask's mean", "mask mean")
    assert found.verdict == verdict and found.difference == pytest.approx(rising)
    assert f"is {np.sign(rising):.2f}" in found.note


def test_guidance_is_compared_with_the_base_on_the_same_clips(tmp_path: Path) -> None:
    write_results(
        tmp_path, variants=("full",), sweep_effects={"references": 5.0}, clip_sd=0.1, clips=8
    )
    grid = read_grid(tmp_path)
    levels = grid.levels("guidance_references")
    assert list(levels) == [0, *GUIDANCE] and list(grid.levels("t_test")) == list(T_TEST)
    base = grid.variants["full"][0]
    assert len(base.per_clip["background_psnr@15"]) == 8
    assert levels[0][0].metrics["background_psnr@15"] == pytest.approx(
        base.per_clip["background_psnr@15"][:4].mean()
    )
    assert "FVD" not in levels[0][0].metrics
    found = findings(grid)
    references = find(found, "guidance by the references", "background_psnr@15")
    assert references.verdict == "reproduced" and references.worse.name == "at 0"
    assert references.difference == pytest.approx(5, abs=0.5) and references.clips == 4
    assert find(found, "guidance by the anchor", "background_psnr@15").verdict == "undecided"


def test_forms_are_ranked_and_compared_in_pairs(tmp_path: Path) -> None:
    name = "background_psnr@127"
    effects = {
        "no_mask": {name: -6.0},
        "static_residual": {name: 3.0},
        "static_literal": {name: -3},
    }
    write_results(tmp_path, effects, variants=SMALL)
    forms = rank_forms(read_grid(tmp_path), "background_psnr@127")
    assert [a.name for a in forms.order] == ["residual", "posterior", "literal", "none"]
    assert len(forms.pairs) == 6 and all(p.difference > 0 for p in forms.pairs)
    assert [p.p_holm for p in forms.pairs] == pytest.approx(holm([p.p_seeds for p in forms.pairs]))
    assert forms.sentence().startswith("The residual form wins: background PSNR, frame 127")
    ahead = forms.order[0].mean - forms.order[1].mean
    assert f"{ahead:.2f} dB ahead of posterior" in forms.sentence()
    by_chance = rank_forms(read_grid(tmp_path), "FVD")
    assert by_chance.pairs[0].p_seeds > 0.05
    assert " form is only ahead: shapes-FVD" in by_chance.sentence()


def test_the_goal_is_of_the_variant_that_comes_nearest(tmp_path: Path) -> None:
    effects = {
        "full": {"background_psnr@127": 30.0, "direction@128": -0.5},
        "no_mask": {"background_psnr@127": 7.0, "direction@128": 0.15},
    }
    write_results(tmp_path, effects, variants=SMALL, seed_sd=0.0, clip_sd=0.0)
    goal = best_variant(read_grid(tmp_path))
    assert goal is not None and goal.variant == "no_mask" and goal.reached
    assert "Reached: the best variant (no mask)" in goal.sentence()
    assert "25.00 ± 0.00 dB (goal: at least 24.10 dB)" in goal.sentence()
    assert "95.0 ± 0.0 % (goal: at least 90.0 %)" in goal.sentence()
    without = "Without any model, background PSNR, frame 127: first frame repeated 21.10 dB"
    assert without in goal.sentence()
    write_results(tmp_path / "low", variants=SMALL)
    low = best_variant(read_grid(tmp_path / "low"))
    assert low is not None and not low.reached and low.sentence().startswith("Not reached")


def test_a_metric_that_is_null_is_no_number(tmp_path: Path) -> None:
    write_results(tmp_path, variants=("full",), long_frames=0)
    grid = read_grid(tmp_path)
    assert best_variant(grid) is None
    assert values(grid.variants["full"], "background_psnr@127") == {}
    assert len(values(grid.variants["full"], "FVD")) == 3


def test_an_undecided_claim_is_bounded_and_says_what_would_decide_it() -> None:
    better = {s: run(lasts=x) for s, x in enumerate((60.0, 70.0, 65.0))}
    worse = {s: run(lasts=x) for s, x in enumerate((58.0, 64.0, 66.0))}
    found = compare("it helps", "ours", "lasts", ("with", better), ("without", worse))
    low, high = interval([2.0, 6.0, -1.0])
    assert found.verdict == "undecided" and found.interval == pytest.approx((low, high))
    assert found.interval_text() == "−6.39 to 11.06 frames"
    seeds = pairs_needed(effect_size([2.0, 6.0, -1.0]))
    assert "95 % interval −6.39 to 11.06 frames" in found.sentence()
    assert found.sentence().endswith(f"; {seeds} seeds would tell.")
    same = compare("it helps", "ours", "lasts", ("with", better), ("without", better))
    assert same.sentence().endswith("no number of seeds would tell.")
