"""Windows in flight: each target once, in order, after the right frames."""

from __future__ import annotations

import math

import pytest
import torch
from make_system import MakeSystem
from torch import Tensor

from lightning_artv.batch import VideoBatch
from lightning_artv.diffusion.noise import generators_for, names_of
from lightning_artv.errors import UserError
from lightning_artv.systems.artv import ARTV
from lightning_artv.systems.artv.denoiser import Encoded, Masked
from lightning_artv.systems.artv.objective import Noised, weighted_error
from lightning_artv.systems.artv.settings import ARTVSampling
from lightning_artv.systems.base import LossOutput

K = 3
PLAIN = {"max_noise_level": 0, "condition_dropout": 0.0}


def windows(*keys: str) -> VideoBatch:
    """Windows of three targets: frames 0, 1, 2 follow frame 3; before it frame 4; the anchor 5."""
    g = torch.Generator().manual_seed(sum(map(ord, "".join(keys))))
    pixels = torch.randint(0, 256, (len(keys), 6, 3, 16, 16), dtype=torch.uint8, generator=g)
    choice = torch.tensor([[0, 3, 4, 5], [1, 0, 3, 5], [2, 1, 0, 5]]).expand(len(keys), K, 4)
    return VideoBatch(pixels, choice, tuple(f"a {key}" for key in keys), keys)


class Seen:
    """What the denoiser is asked; its answer is the previous frame at half the contrast."""

    def __init__(self, system: ARTV) -> None:
        self.steps: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        self.system = system
        system.denoiser.denoise = self._denoise  # type: ignore[method-assign]
        encode = system.denoiser.encode

        def encode_and_keep(conditions):  # type: ignore[no-untyped-def]
            self.references, self.anchor = conditions[0].references, conditions[0].anchor
            return encode(conditions)

        system.denoiser.encode = encode_and_keep  # type: ignore[method-assign]

    def _denoise(self, y_t: Tensor, t: Tensor, encoded: Encoded) -> Masked:
        self.steps.append((y_t, t, self.references, self.anchor))
        return Masked((0.5 * encoded.y_ref).requires_grad_())


def step(system: ARTV, batch: VideoBatch, number: int) -> LossOutput:
    names = names_of(batch.each_target(batch.keys), number)
    return system.loss(batch, generators_for(0, names))


def latents(system: ARTV, batch: VideoBatch) -> Tensor:
    return system.autoencoder.encode_clips(batch.frames, generators_for(0, batch.keys))


def test_a_window_is_trained_one_target_a_step_and_leaves(make_system: MakeSystem) -> None:
    system = make_system(streams=True, **PLAIN).train()
    outputs = [step(system, windows(name), i) for i, name in enumerate("abcde")]
    assert [output.keys for output in outputs] == [
        ("a",),
        ("a", "b"),
        ("a", "b", "c"),
        ("b", "c", "d"),
        ("c", "d", "e"),
    ]
    assert [len(output.per_sample) for output in outputs] == [1, 2, 3, 3, 3]


@pytest.mark.parametrize("own", [0.0, 1.0])
def test_references_are_what_the_steps_before_have_made(
    make_system: MakeSystem, own: float
) -> None:
    system = make_system(streams=True, own_references=own, **PLAIN).train()
    seen, batches = Seen(system), [windows(name) for name in "abcd"]
    for number, batch in enumerate(batches):
        output = step(system, batch, number)
        output.loss.backward()
    true = latents(system, batches[0])[0]
    made = [0.5 * true[3], 0.25 * true[3]] if own else [true[0], true[1]]
    expected = [(true[3], true[4]), (made[0], true[3]), (made[1], made[0])]
    for number, pair in enumerate(expected):
        _, _, references, anchor = seen.steps[number]
        torch.testing.assert_close(references[0], torch.stack(pair), rtol=1e-6, atol=1e-6)
        assert torch.equal(anchor[0], true[5]) and not references.requires_grad
    _, _, references, _ = seen.steps[3]  # the first window has left; the second's third target
    second = latents(system, batches[1])[0]
    last = 0.25 * second[3] if own else second[1]
    torch.testing.assert_close(references[0, 0], last, rtol=1e-6, atol=1e-6)


def test_the_loss_is_against_true_frames(make_system: MakeSystem) -> None:
    system = make_system(streams=True, own_references=1.0, loss_weighting="sample", **PLAIN).train()
    Seen(system)
    batch = windows("a")
    true = latents(system, batch)[0]
    for number in range(K):
        error = (0.5 ** (number + 1) * true[3] - true[number]).square().mean()
        torch.testing.assert_close(
            step(system, batch if number == 0 else windows("b"), number).per_sample[0], error
        )


def test_a_windows_own_kind_is_first_frames_or_a_stream(make_system: MakeSystem) -> None:
    system = make_system(streams=True, own_references=0.5, first_frame_share=0.5, **PLAIN).train()
    step(system, windows(*(f"k{i}" for i in range(400))), 0)
    flight = system._flight
    assert flight is not None
    assert flight.first.float().mean() == pytest.approx(0.5, abs=0.08)
    assert flight.own.float().mean() == pytest.approx(0.25, abs=0.07)
    assert not (flight.first & flight.own).any()


def test_streams_start_in_noise_alone_at_the_last_timestep(make_system: MakeSystem) -> None:
    system = make_system(streams=True, own_references=1.0, from_noise=1.0, **PLAIN).train()
    seen = Seen(system)
    batch = windows(*(f"k{i}" for i in range(20)))
    step(system, batch, 0)
    y_t, t, _, _ = seen.steps[0]
    assert (t == len(system.denoiser.schedule) - 1).all()
    true = latents(system, batch)[:, 0].flatten()
    assert abs(torch.corrcoef(torch.stack([y_t.flatten(), true]))[0, 1]) < 0.02
    assert y_t.std() == pytest.approx(1, abs=0.02)


def test_what_follows_true_frames_is_noised_as_ever(make_system: MakeSystem) -> None:
    system = make_system(streams=True, own_references=0.0, from_noise=1.0, **PLAIN).train()
    seen = Seen(system)
    step(system, windows(*(f"k{i}" for i in range(20))), 0)
    assert len(set(seen.steps[0][1].tolist())) > 10


def test_a_frame_that_is_not_finite_is_no_reference(make_system: MakeSystem) -> None:
    system = make_system(streams=True, own_references=1.0, **PLAIN).train()
    batch = windows("a")
    system.denoiser.denoise = lambda y_t, t, encoded: Masked(  # type: ignore[method-assign]
        torch.full_like(y_t, math.nan)
    )
    step(system, batch, 0)
    assert system._flight is not None
    assert torch.equal(system._flight.roles().references[0, 0], latents(system, batch)[0, 0])


def test_after_a_dropped_reference_the_true_frame_follows(make_system: MakeSystem) -> None:
    options = {"max_noise_level": 0, "condition_dropout": 1.0}
    system = make_system(streams=True, own_references=1.0, **options).train()
    batch = windows("a")
    Seen(system)
    step(system, batch, 0)
    assert system._flight is not None
    assert torch.equal(system._flight.roles().references[0, 0], latents(system, batch)[0, 0])


def test_own_frames_are_clamped_as_in_generation(make_system: MakeSystem) -> None:
    sampling = ARTVSampling(clip_latents=0.1)
    system = make_system(streams=True, own_references=1.0, sampling=sampling, **PLAIN).train()
    Seen(system)
    step(system, windows("a"), 0)
    assert system._flight is not None
    assert system._flight.roles().references[0, 0].abs().max() == pytest.approx(0.1)


def test_first_frames_follow_nothing_all_their_flight(make_system: MakeSystem) -> None:
    system = make_system(streams=True, first_frame_share=0.5, **PLAIN).train()
    seen = Seen(system)
    blank = []
    for number in range(2):  # the second batch has fewer windows than there are in flight
        step(
            system, windows(*(f"k{i}" for i in range(20))) if number == 0 else windows("z"), number
        )
        blank.append((seen.references[:20] == 0).flatten(1).all(dim=1))
    assert torch.equal(*blank) and 0 < blank[0].sum() < 20


def test_a_flight_is_not_changed(make_system: MakeSystem) -> None:
    """A checkpoint between the micro-batches of a step needs what the step began with."""
    system = make_system(streams=True, own_references=1.0, **PLAIN).train()
    step(system, windows("a", "b"), 0)
    flight = system._flight
    assert flight is not None
    before = flight.state()["latents"].clone()
    flight.after(torch.zeros(2, *before.shape[2:]))
    assert torch.equal(flight.latents, before)


def test_carried_over_the_losses_are_the_same(make_system: MakeSystem) -> None:
    options = {"streams": True, "own_references": 0.6, "first_frame_share": 0.2, "huber": 0.03}
    one, other = (make_system(opened=True, **options).train() for _ in range(2))
    batches = [windows(name, name * 2) for name in "abcdef"]
    whole = [step(one, batch, i).per_sample for i, batch in enumerate(batches)]
    for i in range(3):
        step(other, batches[i], i)
    fresh = make_system(opened=True, **options).train()
    fresh.carry(other.carried())
    for i in range(3, 6):
        assert torch.equal(step(fresh, batches[i], i).per_sample, whole[i])
    assert len(fresh.carried()["keys"]) == 4
    fresh.carry({})
    assert fresh.carried() == {}


def test_evaluation_knows_no_flight(make_system: MakeSystem) -> None:
    streams, plain = make_system(streams=True, own_references=1.0), make_system()
    batch = windows("a", "b")
    assert torch.equal(step(streams, batch, 0).per_sample, step(plain, batch, 0).per_sample)
    assert streams.carried() == {}


def test_pseudo_huber_counts_where_references_are(make_system: MakeSystem) -> None:
    system = make_system(huber=0.03, loss_weighting="sample", unreferenced_weight=0.5)
    schedule, options = system.denoiser.schedule, system.training_options
    clean, y0 = torch.rand(2, 4, 3, 3), torch.rand(2, 4, 3, 3)
    noised = Noised(y0, y0, torch.tensor([3, 500]))
    error = weighted_error(schedule, options, clean, noised, torch.tensor([True, False]))
    d = (clean - y0).double()
    torch.testing.assert_close(error[0].double(), ((d[0] ** 2 + 0.0009).sqrt() - 0.03).mean())
    torch.testing.assert_close(error[1].double(), 0.5 * (d[1] ** 2).mean())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"huber": -1.0}, "huber is -1.0: choose 0 or more"),
        ({"from_noise": 0.5}, "from_noise is of streams"),
        ({"streams": True, "from_noise": 2.0}, "from_noise is 2.0, and no share"),
    ],
)
def test_bad_options(make_system: MakeSystem, options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_system(**options)
