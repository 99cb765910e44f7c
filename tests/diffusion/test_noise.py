"""A sample's noise depends on its own generator only."""

import hashlib

import pytest
import torch

from lightning_artv.diffusion.noise import generators_for, rand, randint, randn, random_steps

SHAPE = (4, 5, 6)


def test_a_row_is_what_its_own_generator_draws():
    rows = randn(generators_for(0, ["a", "b"]), SHAPE)
    for row, generator in zip(rows, generators_for(0, ["a", "b"]), strict=True):
        assert torch.equal(row, torch.randn(SHAPE, generator=generator))


@pytest.mark.parametrize(
    "draw",
    [
        lambda g: randn(g, SHAPE),
        lambda g: randn(g, (3,)),
        lambda g: rand(g, SHAPE),
        lambda g: randint(g, 0, 10**6),
        lambda g: random_steps(g, 10**6, 0.1),
    ],
)
def test_batch_mates_and_order_do_not_matter(draw):
    together = draw(generators_for(7, ["a", "b", "c"]))
    turned = draw(generators_for(7, ["c", "a"]))
    alone = draw(generators_for(7, ["c"]))
    assert torch.equal(together[2], turned[0]) and torch.equal(turned[0], alone[0])
    assert torch.equal(together[0], turned[1])
    assert not torch.equal(together[0], together[1])


def test_seeds_and_kinds_of_key_are_told_apart():
    draws = [
        randint(generators_for(seed, [key]), 0, 2**62)[0].item()
        for seed, key in [(0, 1), (0, "1"), (1, 1), (1, "1"), (0, 11), (0, "i1"), (1, 0)]
    ]
    assert len(set(draws)) == len(draws)


def test_the_hash_is_pinned_so_that_runs_repeat_on_every_machine():
    expected = int.from_bytes(hashlib.blake2b(b"3 sclip", digest_size=8).digest(), "little")
    assert generators_for(3, ["clip"])[0].initial_seed() == expected
    assert generators_for(3, torch.tensor([5]).numpy())[0].initial_seed() == (
        generators_for(3, [5])[0].initial_seed()
    )


def test_the_dtype_changes_only_the_rounding():
    single = randn(generators_for(0, [0]), SHAPE)
    half = randn(generators_for(0, [0]), SHAPE, dtype=torch.bfloat16)
    assert half.dtype == torch.bfloat16 and torch.equal(single.bfloat16(), half)


def test_shapes_ranges_and_moments():
    generators = generators_for(0, range(2000))
    numbers = randn(generators, (16,))
    assert numbers.shape == (2000, 16)
    assert abs(numbers.mean()) < 0.02 and abs(numbers.std() - 1) < 0.02
    uniform = rand(generators)
    assert uniform.shape == (2000,) and uniform.min() >= 0 and uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 0.03
    integers = randint(generators, 2, 5)
    assert integers.dtype == torch.int64 and set(integers.tolist()) == {2, 3, 4}


def test_an_empty_batch_is_empty():
    assert randn([], SHAPE).shape == (0, *SHAPE)
    assert rand([], SHAPE).shape == (0, *SHAPE)
    assert randint([], 0, 3).dtype == torch.int64


def test_generators_advance():
    generators = generators_for(0, [0])
    assert not torch.equal(randn(generators, SHAPE), randn(generators, SHAPE))


def test_a_share_of_the_steps_is_moved_to_the_last():
    def generators():
        return generators_for(0, range(1000))

    plain, moved = (random_steps(generators(), 50, share) for share in (0.0, 0.3))
    assert torch.equal(plain, randint(generators(), 0, 50))
    assert 0.25 < (moved == 49).float().mean() - (plain == 49).float().mean() < 0.35
    assert torch.equal(moved[moved != 49], plain[moved != 49])
