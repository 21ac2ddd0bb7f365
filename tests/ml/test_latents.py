"""A seed is the same latent vector for years."""

from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import numpy as np
import pytest

from ml.latents import MAX_SEED, Seed, latent, parse, slerp, walk


def test_a_seed_is_what_it_always_was() -> None:
    expected = np.array([1.6243454, -0.6117564, -0.5281718, -1.0729686], dtype=np.float32)
    np.testing.assert_array_equal(latent(1, 4), expected)


def test_seeds_are_independent_of_what_was_drawn_before() -> None:
    np.random.seed(5)
    before = np.random.get_state()[1].tolist()
    first = latent(7, 64)
    latent(8, 64)
    np.testing.assert_array_equal(latent(7, 64), first)
    assert np.random.get_state()[1].tolist() == before


def test_a_thread_draws_what_it_would_alone() -> None:
    """Each has a stream of its own: what the others seed meanwhile does not matter."""
    wanted = [np.random.RandomState(seed).standard_normal(33) for seed in range(200)]
    with ThreadPoolExecutor(4) as threads:
        drawn = list(threads.map(lambda seed: Seed(seed).z(33), range(200)))
    np.testing.assert_array_equal(drawn, wanted)


def test_every_seed_gives_another_vector() -> None:
    assert len({latent(seed, 8).tobytes() for seed in [*range(500), MAX_SEED]}) == 501


def test_a_seed_beyond_the_largest_is_refused() -> None:
    with pytest.raises(ValueError, match="Seed must be between"):
        latent(MAX_SEED + 1, 8)


def test_it_is_standard_normal() -> None:
    drawn = np.stack([latent(seed, 64) for seed in range(500)])
    assert drawn.dtype == np.float32
    assert abs(drawn.mean()) < 0.02
    assert abs(drawn.std() - 1) < 0.02


def test_truncation_scales_towards_the_mean() -> None:
    np.testing.assert_allclose(latent(3, 16, truncation=0.5), latent(3, 16) / 2, rtol=1e-6)
    assert not latent(3, 16, truncation=0.0).any()


# -- addresses -------------------------------------------------------------------------------------------------------

ADDRESSES = [
    "7",
    "7~3@0.2",
    "7~3@0.2~1@0.1",
    "7x12~3",
    "7x(12~1@0.25)~3~1@1",
    "7_12@0.5",
    "7~1@0.2_(3x4~1)@0",
    f"{MAX_SEED}x{MAX_SEED}~9999",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_reads_as_it_was_written_and_needs_no_escaping(address: str) -> None:
    point = parse(address)
    assert str(point) == address
    assert parse(str(point)) == point
    assert quote(address, safe="@()") == address  # all three are allowed in a path as they are (RFC 3986, 3.3)
    z = point.z(16)
    assert z.shape == (16,)
    np.testing.assert_array_equal(z, parse(address).z(16))


@pytest.mark.parametrize(
    ("address", "canonical"), [(7, "7"), ("007", "7"), ("((7))", "7"), ("(7~3@0.20)~01@1.0", "7~3@0.2~1@1")]
)
def test_other_ways_to_write_it_are_the_same_picture(address: str | int, canonical: str) -> None:
    assert str(parse(address)) == canonical


@pytest.mark.parametrize(
    "address",
    [
        *("", "-1", "x", "7x12", "7~3", "7~@0.2", "7~0@0.2", "7~10000@0.2", "7~3@1.1", "7~3@0", "7~3@0.2345", "7_12@"),
        *("7)", "(7", "7~3@0.2x", "7 ", "٧", "7/8", str(MAX_SEED + 1), "9" * 25, "1" * 121, "(" * 119),
        *(1.5, True, None, -1),
    ],
)
def test_what_is_no_address_is_told_how_to_write_one(address: object) -> None:
    with pytest.raises(ValueError, match=r"address|seed|numbered|follows @") as caught:
        parse(address)  # type: ignore[arg-type]
    assert len(str(caught.value)) < 400


def test_the_longest_address_is_read_quickly_and_without_a_deep_recursion() -> None:
    assert str(parse("(" * 59 + "7" + ")" * 59)) == "7"
    deep = parse("1" + "x2~1" * 29)
    assert deep.z(4).shape == (4,)


def test_derived_latents_are_what_they_always_were() -> None:
    np.testing.assert_allclose(parse("7~3@0.2").z(3), [1.8992334, -0.5824293, -0.0422234], atol=1e-6)
    from_mother = [False, False, True, True, True, False, False, True]
    np.testing.assert_array_equal(parse("7x12~3").z(8) == parse(7).z(8), from_mother)


def test_a_neighbour_is_as_far_as_it_says() -> None:
    base = parse(7).z(256)

    def far(distance: float, number: int = 1) -> float:
        other = parse(f"7~{number}@{distance}").z(256)
        return float(np.arccos(base @ other / np.linalg.norm(base) / np.linalg.norm(other)) / (np.pi / 2))

    for distance in (0.05, 0.2, 0.5, 1):
        assert far(distance) == pytest.approx(distance, abs=0.1)
    assert far(0.1) < far(0.2) < far(0.4)
    assert parse("7~1@0.2").z(8).tolist() != parse("7~2@0.2").z(8).tolist()
    # The same number at another distance is a step in the same direction.
    near, further = parse("7~1@0.1").z(256), parse("7~1@0.2").z(256)
    np.testing.assert_allclose(slerp(base, parse("7~1@1").z(256), 0.1), near, atol=0.2)
    assert np.linalg.norm(near - base) < np.linalg.norm(further - base)


@pytest.mark.parametrize("address", ["{}~1@0.5", "{}x{}~1", "{}_{}@0.5"])
def test_what_is_derived_is_a_standard_normal_too(address: str) -> None:
    drawn = np.stack([parse(address.format(seed, seed + 1000)).z(64) for seed in range(300)])
    assert abs(drawn.mean()) < 0.03
    assert abs(drawn.std() - 1) < 0.03


def test_a_child_has_each_element_from_a_parent() -> None:
    mother, father = parse(7).z(64), parse(12).z(64)
    children = [parse(f"7x12~{number}").z(64) for number in range(1, 30)]
    for child in children:
        assert ((child == mother) | (child == father)).all()
        assert 10 < (child == mother).sum() < 54
    assert len({child.tobytes() for child in children}) == 29


def test_slerp_goes_round_and_keeps_its_ends() -> None:
    a, b = np.array([2.0, 0.0]), np.array([0.0, 2.0])
    np.testing.assert_allclose(slerp(a, b, 0.5), [2**0.5, 2**0.5])
    np.testing.assert_allclose(slerp(a, b, 0.0), a)
    np.testing.assert_allclose(slerp(a, b, 1.0), b)


@pytest.mark.parametrize("end", [[2.0, 0.0], [-1.0, 0.0], [0.0, 0.0]])
def test_where_there_is_no_one_great_circle_a_line_does(end: list[float]) -> None:
    middle = slerp(np.array([1.0, 0.0]), np.array(end), 0.5)
    np.testing.assert_allclose(middle, [(1 + end[0]) / 2, 0], atol=1e-9)


def test_a_walk_starts_and_ends_where_it_should() -> None:
    points = [parse(seed) for seed in (7, 12, 31)]
    there = walk(points, 5, loop=False)
    assert [str(point) for point in there] == ["7", "7_12@0.5", "12", "12_31@0.5", "31"]
    round_ = walk(points, 6, loop=True)
    assert [str(point) for point in round_] == ["7", "7_12@0.5", "12", "12_31@0.5", "31", "31_7@0.5"]
    assert [str(point) for point in walk(points, 2, loop=False)] == ["7", "31"]
    steps = np.diff([point.z(64) for point in walk(points[:2], 240, loop=False)], axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    assert lengths.max() < 2 * lengths.min()  # no leap


def test_every_latent_has_a_label_of_its_own() -> None:
    labels = [parse(seed).label(10) for seed in range(300)]
    assert min(np.bincount(labels, minlength=10)) > 10
    assert labels == [parse(seed).label(10) for seed in range(300)]
    mother, father = 7, next(seed for seed in range(300) if labels[seed] != labels[7])
    assert parse(f"{mother}~5@0.9").label(10) == labels[mother]
    assert {parse(f"{mother}x{father}~{n}").label(10) for n in range(1, 20)} == {labels[mother], labels[father]}
    assert parse(f"{mother}_{father}@0.4").label(10) == labels[mother]
    assert parse(f"{mother}_{father}@0.6").label(10) == labels[father]
