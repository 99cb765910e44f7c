"""What a student learns of its teacher: answers checked against the teacher's own generation."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from make_system import MakeSystem
from torch import Tensor, nn
from vidrd_parts import clips, small_vidrd

from lightning_artv.batch import VideoBatch
from lightning_artv.diffusion.loss import clean_error
from lightning_artv.diffusion.noise import generators_for, randn
from lightning_artv.errors import UserError
from lightning_artv.systems.artv import ARTV
from lightning_artv.systems.artv.settings import ARTVSampling, Guidance
from lightning_artv.systems.base import Generative, Segment, VideoSystem
from lightning_artv.systems.distilled import Distillation, Distilled
from lightning_artv.systems.teaching import Practice, Teacher
from lightning_artv.systems.vidrd.settings import Guidance as TextGuidance
from lightning_artv.systems.vidrd.settings import VidRDSampling

SAMPLING = ARTVSampling(
    steps=4,
    spacing="trailing",
    guidance=Guidance(0.5, 0.25, 2.0),
    noise_level=0,
    clip_latents=1.0,
    set_alpha_to_one=True,
    first_guidance=1.0,
)


class Given(Teacher):
    """A teacher that is there."""

    def __init__(self, system: VideoSystem) -> None:
        self.system = system

    def load(self) -> VideoSystem:
        return self.system


@pytest.fixture
def teacher(make_system: MakeSystem) -> ARTV:
    return make_system(opened=True, sampling=SAMPLING, prediction_type="residual")


@pytest.fixture
def windows() -> VideoBatch:
    """Two windows of three targets."""
    g = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (2, 6, 3, 16, 16), dtype=torch.uint8, generator=g)
    rows = [(k, [3, 0, 1][k], [4, 3, 0][k], 5) for k in range(3)]
    choice = torch.tensor(rows).expand(2, 3, 4)
    return VideoBatch(pixels, choice, ("a dog", "a cat"), ("k0", "k1"))


def distilled(teacher: VideoSystem, training: Distillation | None = None, **sampling: Any) -> Any:
    return Distilled(Given(teacher), {"steps": 1, **sampling}, None, training or Distillation())


def fresh(batch: VideoBatch) -> Any:
    """One generator a target, the same at each call."""
    count = len(batch.keys) * batch.targets_per_window
    return generators_for(0, [f"g{i}" for i in range(count)])


def test_the_teachers_answer_is_what_it_generates(teacher: ARTV, batch: VideoBatch) -> None:
    """Guided, with all steps, after the same frames and from the same noise."""
    batch = replace(batch, choice=torch.tensor([0, 1, 1, 1]).expand(3, 1, 4))  # after a given frame
    student = distilled(teacher)
    (exercise,) = student.student.exercises(batch, Practice(), fresh(batch))
    shape = exercise.clean.shape[1:]
    generators = generators_for(9, batch.keys)
    randn(generators, (3, *shape))  # generation's draw for the noise augmentation
    noise = randn(generators, shape)
    trail, answer = student._ask(exercise, noise, [999])
    assert torch.equal(trail[999], noise)
    first, given = batch.frames[:, 1], generators_for(9, batch.keys)
    _, made = teacher.generate([Segment(batch.captions, 2)], given, (16, 16), first_frame=first)
    assert torch.equal(teacher.autoencoder.decode(answer), made)
    assert (made != first).any()


def test_the_teachers_first_frame_is_what_it_generates_from_a_text_alone(
    teacher: ARTV, batch: VideoBatch
) -> None:
    student = distilled(teacher)
    (exercise,) = student.student.exercises(batch, Practice(first=1.0), fresh(batch))
    shape = exercise.clean.shape[1:]
    generators = generators_for(9, batch.keys)
    randn(generators, (3, *shape))  # generation's draw for the noise augmentation
    answer = student._ask(exercise, randn(generators, shape), [999])[1]
    given = generators_for(9, batch.keys)
    (made,) = teacher.generate([Segment(batch.captions, 1)], given, (16, 16))
    assert torch.equal(teacher.autoencoder.decode(answer), made)


def test_loss_of_a_student_of_two_steps_written_out(teacher: ARTV, windows: VideoBatch) -> None:
    training = Distillation(own=0.0, first=0.5, truth=0.25, huber=0.1)
    student = distilled(teacher, training, steps=2)
    output = student.loss(windows, fresh(windows))
    generators = fresh(windows)
    exercises = student.student.exercises(windows, training, generators)
    assert sorted(torch.cat([e.rows for e in exercises]).tolist()) == list(range(6))
    assert {e.follows for e in exercises} == {True, False}
    expected = torch.zeros(6)
    for exercise in exercises:
        noise = randn([generators[r] for r in exercise.rows], exercise.clean.shape[1:])
        truth = 0.25 if exercise.follows else 0.0
        sampler, guided = teacher.solution(exercise, SAMPLING)
        y_t, seen = noise, []
        for step in sampler.plan(teacher.denoiser.schedule):  # DDIM, by hand
            seen.append((step.timestep, y_t))
            clean = guided(y_t, step.timestep).clamp(-1, 1)
            eps = (y_t - step.now.signal * clean) / step.now.noise
            y_t = step.next.signal * clean + step.next.noise * eps
        plain = student.student.solution(exercise, student.sampling)[1]
        errors = 0
        for t, reached in (seen[0], seen[2]):  # 999 and 499
            answer = plain(reached, t)
            errors += (1 - truth) * clean_error(answer, y_t, 0.1)
            errors += truth * clean_error(answer, exercise.clean, 0.1)
        expected[exercise.rows] = errors.detach() / 2
    torch.testing.assert_close(output.per_sample, expected, rtol=1e-4, atol=1e-6)
    assert float(output.loss) == pytest.approx(float(expected.mean()), rel=1e-4)


class Counted(nn.Module):
    """Rows that a network was asked for."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.rows = network, 0

    def forward(self, y_t: Tensor, *others: Any) -> Tensor:
        self.rows += len(y_t)
        return self.network(y_t, *others)

    def encode(self, *inputs: Any) -> Any:
        return self.network.encode(*inputs)


def test_a_student_costs_one_evaluation_a_step(teacher: ARTV) -> None:
    """The teacher: four steps of four branches for a frame, of two for a first one."""
    student = distilled(teacher, first_steps=2).delivered()
    for system, expected in ((teacher, 4 * 2 + 16), (student, 2 + 1)):
        system.denoiser.dynamic = counted = Counted(system.denoiser.dynamic)
        list(system.generate([Segment(("a dog",), 2)], generators_for(0, ["v"]), (16, 16)))
        assert counted.rows == expected


def test_no_teacher_is_asked_where_only_truth_counts(teacher: ARTV, windows: VideoBatch) -> None:
    student = distilled(teacher, Distillation(own=0.5, truth=1.0))
    teacher.denoiser.dynamic = counted = Counted(teacher.denoiser.dynamic)
    student.loss(windows, fresh(windows))
    assert counted.rows == 0
    student = distilled(teacher, Distillation(own=0.5, truth=0.9))
    student._taught[0].denoiser.dynamic.rows = 0
    student.loss(windows, fresh(windows))
    assert counted.rows == 4 * 4 * 6


def test_own_frames_are_the_students_and_are_its_generation(
    teacher: ARTV, windows: VideoBatch
) -> None:
    """With a student whose prediction is a copy, the second target follows the first's frame."""
    student = distilled(teacher, Distillation(own=1.0))
    for parameter in student.student.denoiser.parameters():
        parameter.data.zero_()  # `residual` adds nothing to frame i-1
    (exercise,) = student.student.exercises(windows, Distillation(own=1.0), fresh(windows))
    true = teacher.autoencoder.encode_clips(windows.frames, fresh(windows)[::3])
    references = exercise.conditions.frames.y_ref.unflatten(0, (2, 3))
    for k in range(3):
        torch.testing.assert_close(references[:, k], true[:, 3])
    (taught,) = student.student.exercises(windows, Practice(), fresh(windows))
    torch.testing.assert_close(
        taught.conditions.frames.y_ref.unflatten(0, (2, 3))[:, 1], true[:, 0]
    )


def test_the_student_learns_and_the_teacher_stays(teacher: ARTV, windows: VideoBatch) -> None:
    before = deepcopy(teacher.state_dict())
    student = distilled(teacher, Distillation(first=0.3, huber=0.0))
    names = student.trainable_parameters()
    assert all(name.startswith("student.denoiser.") for name in names)
    assert not any("taught" in name for name in student.state_dict())
    optimiser = torch.optim.Adam(names.values(), lr=1e-3)
    losses = []
    for step in range(60):
        loss = student.loss(windows, generators_for(step % 2, list("abcdef"))).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-4:]) < 0.5 * sum(losses[:4])
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


def test_what_is_delivered_is_a_system_of_the_teachers_kind(teacher: ARTV) -> None:
    student = distilled(teacher, first_steps=2)
    assert isinstance(student.delivered(), ARTV)
    assert student.delivered().sampling.steps == 1
    assert student.delivered().sampling.guidance == Guidance(0.0, 0.0, 0.0)
    assert student.delivered().sampling.first_guidance == 0.0
    assert teacher.sampling == SAMPLING
    assert (student.windows, student.continues) == (ARTV.windows, True)
    videos = [
        torch.cat(list(s.generate([Segment(("a dog",), 3)], generators_for(0, ["v"]), (16, 16))))
        for s in (student, student.delivered())
    ]
    assert torch.equal(*videos)
    assert teacher.delivered() is teacher


def test_steps_that_the_teacher_does_not_take_are_refused(
    teacher: ARTV, windows: VideoBatch
) -> None:
    with pytest.raises(UserError, match=r"steps \[999, 666, 332\] .* \[666, 332\] are not"):
        distilled(teacher, steps=3).loss(windows, fresh(windows))


def test_names_that_the_settings_have_not_are_refused(teacher: ARTV) -> None:
    with pytest.raises(UserError, match="no setting 'stepz'"):
        distilled(teacher, stepz=3)
    with pytest.raises(UserError, match=r"no setting .guidance\.image."):
        Distilled(Given(teacher), {}, {"guidance.image": 1.0})


def test_shares_are_shares() -> None:
    for name in ("own", "first", "truth"):
        with pytest.raises(UserError, match=f"{name} is 1.5, and no share"):
            Distillation(**{name: 1.5})
    with pytest.raises(UserError, match="huber is nan"):
        Distillation(huber=float("nan"))


def test_a_system_that_offers_no_exercises_is_refused(teacher: ARTV) -> None:
    class Silent(nn.Module, Generative):  # type: ignore[misc]
        sampling, size_multiple, frames = None, 1, None  # type: ignore[assignment]

    with pytest.raises(UserError, match="A Silent cannot be distilled"):
        Distilled(Given(Silent()), {})  # type: ignore[arg-type]


def test_clips_are_distilled_too() -> None:
    sampling = VidRDSampling(
        steps=4,
        guidance=TextGuidance(2.0),
        spacing="trailing",
        set_alpha_to_one=True,
        eta=0.5,
        guided_share=0.0,
    )
    teacher, batch = small_vidrd(sampling=sampling), clips()
    student = distilled(teacher)
    generators = generators_for(0, batch.keys)
    (exercise,) = student.student.exercises(batch, Practice(), generators)
    noise = randn(generators, exercise.clean.shape[1:])
    output = student.loss(batch, generators_for(0, batch.keys))
    answer = teacher.solution(exercise, sampling)
    end = answer[0].sample(answer[1], noise, teacher.denoiser.schedule)
    assert answer[0].eta == 0  # with fresh noise there would be no one answer
    plain = student.student.solution(exercise, student.sampling)[1](noise, 999)
    torch.testing.assert_close(output.per_sample, clean_error(plain, end, 0.03).detach())
    with pytest.raises(UserError, match="A clip of VidRD follows nothing"):
        distilled(teacher, Distillation(own=0.5)).loss(batch, generators)
