"""MixUp and CutMix: what NumPy makes of the unmixed samples, wherever and whenever it is computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from scipy import special, stats

import multifeed as mf
from multifeed.augment.geometry import RandomAffine, RandomFlip
from multifeed.augment.mix import symmetric_beta
from multifeed.batch import allocate

COUNT = 37
RNG = np.random.default_rng(0)
ROWS = {
    "photo": RNG.integers(0, 256, (COUNT, 16, 12, 3)).astype(np.uint8),
    "map": RNG.integers(0, 5, (COUNT, 8, 6)).astype(np.int32),
    "x": RNG.normal(size=COUNT),
    "kind": RNG.integers(0, 3, COUNT),
    "age": RNG.normal(size=COUNT),
    "w": RNG.random(COUNT),
}
# Of 1,000 such tests, one fails by chance; the numbers are fixed, so these do not.
CHANCE = 1e-3


def dataset(**options: Any) -> mf.Dataset:
    """Two images, a number and two targets, all in memory."""
    return mf.Dataset(
        ROWS,
        inputs={"photo": mf.Array("photo"), "map": mf.Array("map"), "x": mf.Numeric("x")},
        targets={
            "kind": mf.Category("kind", vocabulary=[0, 1, 2], one_hot=True),
            "age": mf.Numeric("age"),
        },
        **options,
    )


def photographs(pairs: mf.Dataset) -> mf.Dataset:
    """The pairs of photographs with targets that can be mixed."""
    return mf.Dataset(
        pairs.rows,
        key="id",
        inputs={
            "left": mf.Image("left", size=(24, 32), base_size=(30, 40)),
            "right": mf.Image("right", size=(24, 32), dtype="float32", scale=1 / 255),
            "age": mf.Numeric("age"),
        },
        targets={"kind": mf.Category("kind", vocabulary=["a", "b", "c"], one_hot=True)},
    )


def together(feed: mf.Feed, epoch: int = 0) -> dict[str, np.ndarray]:
    """Return all samples of an epoch by name."""
    batches = [feed.structure.unpack(feed.batch(epoch, step)) for step in range(len(feed))]
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def drawn(feed: mf.Feed, number: int, epoch: int = 0) -> dict[str, np.ndarray]:
    """Return the parameters of a transform in an epoch by name."""
    draws = [feed.draws(epoch, step)[number] for step in range(len(feed))]
    return {name: np.concatenate([each[name] for each in draws]) for name in draws[0]}


def wide(shares: np.ndarray, values: np.ndarray) -> np.ndarray:
    return shares.reshape(-1, *(1,) * (values.ndim - 1))


def mixture(first: np.ndarray, other: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return the mixture, in float64; not rounded."""
    share = wide(shares, first)
    return share * first.astype(np.float64) + (1 - share) * other.astype(np.float64)


def pasted(first: np.ndarray, other: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    found = first.copy()
    height, width = first.shape[1:3]
    for image, partner, box in zip(found, other, boxes, strict=True):
        top, left, bottom, right = np.rint(box * (height, width, height, width)).astype(int)
        image[top:bottom, left:right] = partner[top:bottom, left:right]
    return found


def assert_mixed(found: np.ndarray, wanted: np.ndarray) -> None:
    """Floats to their precision; integers as rounded, to either side where the mixture is a half."""
    if found.dtype.kind == "f":
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    else:
        assert np.abs(found - wanted).max() <= 0.5 + 1e-4


@pytest.mark.parametrize("batch_size", [5, 16])
@pytest.mark.parametrize("shuffle", [False, True])
def test_mixup_is_what_numpy_makes_of_the_samples(batch_size: int, shuffle: bool) -> None:
    """lambda · first + (1 - lambda) · partner, for inputs, targets and sample weights alike."""
    data = dataset(sample_weight={"age": "w"})
    mix = mf.MixUp(["photo", "x", "kind", "age"], alpha=1.0)
    options: dict[str, Any] = {"batch_size": batch_size, "shuffle": shuffle, "seed": 3}
    feed, plain = mf.Feed(data, augment=mix, **options), mf.Feed(data, **options)
    found, first, draws = together(feed), together(plain), drawn(feed, 0)
    every = together(mf.Feed(data, COUNT))
    for name in ("photo", "x", "kind", "age", "sample_weight:age", "sample_weight:kind"):
        wanted = mixture(first[name], every[name][draws["partner"]], draws["lambda"])
        assert_mixed(found[name], wanted)
    np.testing.assert_array_equal(found["map"], first["map"])
    np.testing.assert_allclose(found["kind"].sum(1), 1, rtol=1e-6)
    rows = [feed.rows(0, step).tolist() for step in range(len(feed))]
    assert rows == [plain.rows(0, step).tolist() for step in range(len(plain))]


def test_cutmix_is_what_numpy_makes_of_the_samples() -> None:
    """One box in images of any size and in label maps; all else by the area that it really has."""
    data = dataset(sample_weight="w")
    mix = mf.CutMix(["photo", "map", "x", "kind", "age"])
    feed, plain = mf.Feed(data, 7, shuffle=True, augment=mix), mf.Feed(data, 7, shuffle=True)
    found, first, draws = together(feed), together(plain), drawn(feed, 0)
    every = together(mf.Feed(data, COUNT))
    for name in ("photo", "map"):
        wanted = pasted(first[name], every[name][draws["partner"]], draws["box"])
        np.testing.assert_array_equal(found[name], wanted)
    for name in ("x", "kind", "age", "sample_weight:kind"):
        assert_mixed(found[name], mixture(first[name], every[name][draws["partner"]], draws["lambda"]))


@pytest.mark.parametrize("size", [(16, 12), (7, 9), (1, 1)])
def test_lambda_is_the_area_that_is_left(size: tuple[int, int]) -> None:
    """The label says how many pixels are whose, in the smallest image and in multiples of it."""
    height, width = size
    small = np.broadcast_to(np.array([0.0, 1.0])[:, None, None, None], (2, height, width, 1))
    rows = {"small": small.copy(), "large": small.repeat(3, 1).repeat(2, 2), "kind": [0, 1]}
    data = mf.Dataset(
        rows,
        inputs={"large": mf.Array("large"), "small": mf.Array("small")},
        targets=mf.Category("kind", vocabulary=[0, 1], one_hot=True),
    )
    feed = mf.Feed(data, 2, augment=mf.CutMix(["large", "small", "kind"]), steps_per_epoch=200)
    found = together(feed)
    np.testing.assert_allclose(found["small"].mean((1, 2, 3)), found["kind"][:, 1], atol=1e-6)
    np.testing.assert_allclose(found["large"].mean((1, 2, 3)), found["kind"][:, 1], atol=1e-6)


def test_boxes_are_those_of_the_paper() -> None:
    """Before it is cut off, the box has the area 1 - lambda' and its centre is anywhere."""
    numbers = np.random.default_rng(1).random((20_000, 4))
    draws = mf.CutMix(["photo"]).draw(numbers)
    top, left, bottom, right = draws["box"].T
    side = np.sqrt(1 - draws["lambda"])
    assert ((top >= 0) & (left >= 0) & (bottom <= 1) & (right <= 1)).all()
    inside = (top > 0) & (bottom < 1)
    np.testing.assert_allclose((bottom - top)[inside], side[inside], atol=1e-12)
    np.testing.assert_allclose(((bottom + top) / 2)[inside], numbers[inside, 2], atol=1e-12)
    inside = (left > 0) & (right < 1)
    np.testing.assert_allclose((right - left)[inside], side[inside], atol=1e-12)
    np.testing.assert_allclose(((right + left) / 2)[inside], numbers[inside, 3], atol=1e-12)
    assert stats.kstest(draws["lambda"], "uniform").pvalue > CHANCE


@pytest.mark.parametrize("alpha", [0.001, 0.05, 0.2, 1, 1.5, 8, 1_000])
def test_shares_are_those_of_the_beta_distribution(alpha: float) -> None:
    """The inverse of the distribution is exact to a millionth, also far out."""
    tails = 10.0 ** -np.linspace(1, 15, 500)
    numbers = np.concatenate([np.random.default_rng(2).random(20_000), tails, 1 - tails, [0.0, 0.5]])
    found = symmetric_beta(numbers, alpha)
    assert ((found >= 0) & (found <= 1)).all()
    np.testing.assert_allclose(found, special.betaincinv(alpha, alpha, numbers), atol=1e-7)
    if alpha > 0.1:  # Below, many are 1 but for less than floats can tell.
        assert stats.kstest(found[:20_000], "beta", (alpha, alpha)).pvalue > CHANCE


def test_partners_are_any_rows_and_lambdas_are_beta() -> None:
    """Both as drawn by a feed; independent of each other, of other epochs, mixes, seeds and redraws."""
    data = mf.Dataset({"x": np.arange(50.0)}, inputs=mf.Numeric("x"))
    mix = mf.MixUp("x", alpha=0.4)
    feed = mf.Feed(data, 50, augment=[mix, mix], steps_per_epoch=200)
    one = drawn(feed, 0)
    assert stats.chisquare(np.bincount(one["partner"], minlength=50)).pvalue > CHANCE
    assert stats.kstest(one["lambda"], "beta", (0.4, 0.4)).pvalue > CHANCE
    assert stats.pearsonr(one["partner"], one["lambda"]).pvalue > CHANCE
    others = [
        drawn(feed, 1),
        drawn(feed, 0, 1),
        drawn(mf.Feed(data, 50, augment=mix, seed=1, steps_per_epoch=200), 0),
    ]
    for other in others:
        assert stats.pearsonr(one["partner"], other["partner"]).pvalue > CHANCE
        assert stats.pearsonr(one["lambda"], other["lambda"]).pvalue > CHANCE


def augmented() -> list[Any]:
    return [
        RandomAffine(["left", "right"], rotation=20, shift=0.1, flip="horizontal"),
        mf.MixUp(["left", "right", "age", "kind"], alpha=0.5),
        mf.CutMix(["left", "right", "kind"]),
    ]


def test_batches_do_not_depend_on_how_they_are_made(pairs: mf.Dataset) -> None:
    """Batch size, workers and prefetch change nothing about a slot; the plain loop is no exception."""
    data = photographs(pairs)
    wanted = together(mf.Feed(data, 23, shuffle=True, seed=5, augment=augmented()))
    for batch_size, workers, prefetch in ((1, 1, 1), (4, 3, 7), (9, 2, 2)):
        options: dict[str, Any] = {"workers": workers, "prefetch": prefetch}
        with mf.Feed(data, batch_size, shuffle=True, seed=5, augment=augmented(), **options) as feed:
            served = [feed.structure.unpack(batch) for batch in feed]
            plain = together(feed)
        for name, values in wanted.items():
            np.testing.assert_array_equal(np.concatenate([each[name] for each in served]), values)
            np.testing.assert_array_equal(plain[name], values)


def test_columns_do_not_depend_on_how_they_are_made() -> None:
    """The same where all fields are gathered from memory, many small batches at once."""
    data = dataset()
    mixes = [mf.MixUp(["photo", "x", "kind", "age"]), mf.CutMix(["photo", "map", "kind", "age"])]
    wanted = together(mf.Feed(data, COUNT, shuffle=True, augment=mixes))
    for batch_size in (1, 4, 16):
        feed = mf.Feed(data, batch_size, shuffle=True, augment=mixes)
        served = [feed.structure.unpack(batch) for batch in feed]
        for name, values in wanted.items():
            np.testing.assert_array_equal(np.concatenate([each[name] for each in served]), values)


def test_partners_are_augmented_by_draws_of_their_own(pairs: mf.Dataset) -> None:
    """What is mixed in is a row as another slot would have it; no two slots or mixes share a draw."""
    data = photographs(pairs)
    transforms = augmented()
    feed = mf.Feed(data, 23, augment=transforms)
    found = together(feed)
    augmentation = data.plan(transforms).augmentation
    assert augmentation is not None
    shot = augmentation.shoot(0, 0, 0, 23)
    unmixed = data.plan(transforms[:1])
    seen = together(mf.Feed(data, 23, augment=transforms[:1]))
    angles = [shot.draws[0]["rotation"]]
    for number, names in ((1, ["left", "right", "age", "kind"]), (2, ["left", "right", "kind"])):
        partners = allocate(23, unmixed.specs)
        theirs = replace(shot.partners[number], partners={})
        unmixed.fill(shot.draws[number]["partner"], partners, theirs)
        angles.append(theirs.draws[0]["rotation"])
        draws = shot.draws[number]
        for name in names:
            is_cut = number == 2 and name != "kind"
            seen[name] = (
                pasted(seen[name], partners[name], draws["box"])
                if is_cut
                else mixture(seen[name], partners[name], draws["lambda"])
            )
            if name == "left" and not is_cut:
                seen[name] = np.rint(seen[name])
    for name in ("right", "age", "kind"):
        assert_mixed(found[name], seen[name])
    assert (found["left"] == seen["left"]).mean() > 0.999
    assert len(np.unique(np.concatenate(angles))) == 3 * 23


@pytest.mark.parametrize("batch_size", [3, 8, 500])
def test_columns_of_partners_are_transformed_too(batch_size: int) -> None:
    """Numbers that are changed many rows at once: so are the partners', by draws of their own."""
    data = mf.Dataset({"x": np.arange(500.0)}, inputs=mf.Array("x", dtype="float32"))
    noise, mix = mf.Noise("x", sigma=1.0), mf.MixUp("x", alpha=1.0)
    plan = data.plan([noise, mix])
    assert plan.augmentation is not None
    assert not plan.reads_samples
    shot = plan.augmentation.shoot(4, 0, 0, 500)
    draws, theirs = shot.draws[1], shot.partners[1]
    plain, partners = data.plan([noise]), allocate(500, plan.specs)
    plain.fill(draws["partner"], partners, theirs)
    first = together(mf.Feed(data, 500, augment=noise, seed=4))["x"]
    feed = mf.Feed(data, batch_size, augment=[noise, mix], seed=4)
    served = np.concatenate([batch[0] for batch in feed])
    np.testing.assert_allclose(served, mixture(first, partners["x"], draws["lambda"]), rtol=1e-5)
    own = partners["x"] - draws["partner"]
    assert stats.pearsonr(own, first - np.arange(500)).pvalue > CHANCE


def test_small_shares_are_not_read_and_not_missed(tmp_path: Path) -> None:
    """A partner whose share no pixel shows is not read; every pixel is what it would be."""
    names, pixels = [], RNG.integers(0, 256, (6, 8, 8, 3)).astype(np.uint8)
    for number, image in enumerate(pixels):
        names.append(str(tmp_path / f"{number}.jpg"))
        Path(names[-1]).write_bytes(simplejpeg.encode_jpeg(image, quality=95))
    data = mf.Dataset({"photo": names}, inputs=mf.Image("photo", 8))
    feed = mf.Feed(data, 6, augment=mf.MixUp("photo", alpha=0.05), workers=1)
    for _ in feed:
        pass
    read = feed.report().fields["photo"].samples
    feed.close()
    every = together(mf.Feed(data, 6))["photo"]
    assert read < 12 * feed.prefetch
    for epoch in range(20):
        draws = drawn(feed, 0, epoch)
        wanted = mixture(every, every[draws["partner"]], draws["lambda"])
        assert_mixed(together(feed, epoch)["photo"], wanted)


def test_broken_partners_are_named(tmp_path: Path) -> None:
    """An error about a partner tells the partner's key and file."""
    good, bad = tmp_path / "good.jpg", tmp_path / "bad.jpg"
    good.write_bytes(simplejpeg.encode_jpeg(np.zeros((8, 8, 3), np.uint8)))
    bad.write_bytes(b"no image")
    data = mf.Dataset(
        {"id": ["a", "b"], "photo": [str(good), str(bad)]}, key="id", inputs=mf.Image("photo", 8)
    )
    for augment in ([], [RandomFlip("photo")]):
        feed = mf.Feed(data, 1, augment=[*augment, mf.MixUp("photo", alpha=1.0)], seed=2)
        epoch = next(each for each in range(99) if feed.draws(each, 0)[-1]["partner"][0] == 1)
        with pytest.raises(mf.SampleError, match="'photo' of sample 'b' cannot be used") as caught:
            feed.batch(epoch, 0)
        assert caught.value.row == 1


def test_selected_and_joined_datasets() -> None:
    """Partners are rows of the dataset that is fed; joined tables are like one."""
    data, mix = dataset(), mf.MixUp(["photo", "x", "kind", "age"])
    part = data.select([3, 4, 5])
    feed = mf.Feed(part, 3, augment=mix, steps_per_epoch=50)
    assert set(drawn(feed, 0)["partner"].tolist()) == {0, 1, 2}
    joined = mf.concat([data.select(slice(0, 10)), data.select(slice(10, COUNT))])
    one, other = together(mf.Feed(joined, 8, augment=mix)), together(mf.Feed(data, 8, augment=mix))
    for name, values in other.items():
        np.testing.assert_array_equal(one[name], values)


def test_padding_and_continuing_streams() -> None:
    """Copies that pad are those of the mixed first row, of weight 0; epochs of k steps go on."""
    data, mix = dataset(), mf.MixUp(["photo", "x", "kind", "age"])
    padded, plain = (mf.Feed(data, 8, augment=mix, remainder=each) for each in ("pad", "keep"))
    (inputs, targets, weights), (seen, _) = padded.batch(0, 4), plain.batch(0, 4)
    assert len(inputs["x"]) == 8
    np.testing.assert_array_equal(inputs["photo"][:5], seen["photo"])
    np.testing.assert_array_equal(inputs["photo"][5:], seen["photo"][[0, 0, 0]])
    np.testing.assert_allclose(weights["kind"], [1, 1, 1, 1, 1, 0, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(targets["kind"].sum(1), 1, rtol=1e-6)
    stream = mf.Feed(data, 8, augment=mix, steps_per_epoch=3)
    for position, other in (((1, 1), (0, 4)), ((1, 2), (1, 0))):
        one, two = stream.batch(*position), plain.batch(*other)
        np.testing.assert_array_equal(one[0]["photo"], two[0]["photo"])


def test_class_weights_are_mixed() -> None:
    """The weight of a mixture is the mixture of the weights."""
    data = dataset()
    weights: dict[str, Any] = {"kind": {0: 1.0, 1: 2.0, 2: 5.0}}
    mix = mf.MixUp(["x", "kind", "age"], alpha=1.0)
    found = together(mf.Feed(data, 8, augment=mix, class_weight=weights))
    np.testing.assert_allclose(found["sample_weight:kind"], found["kind"] @ [1, 2, 5], rtol=1e-5)


@pytest.mark.parametrize("also", [[], [RandomFlip("photo")]], ids=["alone", "after a flip"])
def test_copies_are_of_the_mixture_or_of_the_first(also: list[Any]) -> None:
    """Same is the mixture, unless it is taken before the mix; then it is the first sample."""

    def feed(*mixes: Any) -> mf.Feed:
        data = mf.Dataset(
            ROWS,
            inputs={"photo": mf.Array("photo"), "copy": mf.Same("photo")},
            targets={
                "clean": mf.Same("photo", dtype="float32", scale=1 / 255, before="mix"),
                "mixed": mf.Same("photo", dtype="float32", scale=1 / 255, before="color"),
            },
        )
        return mf.Feed(data, 10, augment=[*also, *mixes])

    mixes = (mf.MixUp("photo", alpha=1.0), mf.CutMix("photo"))
    found = together(feed(*mixes))
    first = together(feed()) if also else together(mf.Feed(feed(*mixes).data, 10))
    np.testing.assert_array_equal(found["copy"], found["photo"])
    np.testing.assert_array_equal(found["clean"], first["clean"])
    assert np.abs(found["mixed"] * 255 - found["photo"]).max() < 0.51
    assert (found["photo"] != first["photo"]).mean() > 0.5


def test_masks_cover_both_samples() -> None:
    """An item that is none of either sample is padding."""
    lists = [[1.0], [1.0, 2.0, 3.0], [4.0, 5.0], []]
    inputs = {"x": mf.Array("x", pad_to=4, dtype="float32"), "mask": mf.Mask("x")}
    data = mf.Dataset({"x": lists}, inputs=inputs)
    feed = mf.Feed(data, 4, augment=mf.MixUp("x", alpha=1.0))
    lengths = np.array([1, 3, 2, 0])
    wanted = np.maximum(lengths, lengths[drawn(feed, 0)["partner"]])
    np.testing.assert_array_equal(together(feed)["mask"].sum(1), wanted)


def test_kept_targets_and_half_precision() -> None:
    """A target that is kept is the first sample's; float16 is mixed to its own precision."""
    data = mf.Dataset(
        ROWS,
        inputs=mf.Array("x", dtype="float16"),
        targets={"kind": mf.Category("kind", vocabulary=[0, 1, 2]), "age": mf.Numeric("age")},
    )
    feed = mf.Feed(data, COUNT, augment=mf.MixUp(["x", "age"], alpha=1.0, keep="kind"))
    found, first, draws = together(feed), together(mf.Feed(data, COUNT)), drawn(feed, 0)
    np.testing.assert_array_equal(found["kind"], first["kind"])
    wanted = mixture(first["x"], first["x"][draws["partner"]], draws["lambda"])
    assert found["x"].dtype == np.float16
    np.testing.assert_allclose(found["x"], wanted, atol=4e-3)


def test_functions_see_all_of_a_partners_fields() -> None:
    """What is transformed together is transformed together of a partner too, though one is mixed."""

    def swap(arrays: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {"x": arrays["x"] + arrays["age"], "age": arrays["age"]}

    data = mf.Dataset(ROWS, inputs={"x": mf.Numeric("x"), "age": mf.Numeric("age")})
    augment = [mf.RandomFunction(["x", "age"], swap), mf.MixUp("x", alpha=1.0)]
    feed = mf.Feed(data, COUNT, augment=augment)
    found, draws = together(feed), drawn(feed, 1)
    total = (ROWS["x"] + ROWS["age"])[:, None]
    assert_mixed(found["x"], mixture(total, total[draws["partner"]], draws["lambda"]))
    assert_mixed(found["age"], ROWS["age"][:, None])


def test_other_draws_mix_otherwise(tmp_path: Path) -> None:
    """Draw 0 is the batch; others have other partners; a sheet can be drawn of them."""
    feed = mf.Feed(dataset(), 8, augment=mf.MixUp(["photo", "x", "kind", "age"], alpha=1.0))
    zero, one, batch = feed.redraw(0, 0, 0), feed.redraw(0, 0, 1, count=3), feed.batch(0, 0)
    np.testing.assert_array_equal(zero[0]["photo"], batch[0]["photo"])
    assert (one[0]["x"] != batch[0]["x"][:3]).all()
    mf.show(feed, str(tmp_path / "sheet.png"), draws=2)
    assert (tmp_path / "sheet.png").stat().st_size > 0


def refused() -> list[tuple[Callable[[], object], str]]:
    def feed(*augment: Any, **fields: Any) -> Callable[[], object]:
        inputs = {"photo": mf.Array("photo"), "map": mf.Array("map"), "x": mf.Numeric("x"), **fields}
        targets = {"kind": mf.Category("kind", vocabulary=[0, 1, 2]), "age": mf.Numeric("age")}
        return lambda: mf.Feed(mf.Dataset(ROWS, inputs=inputs, targets=targets), 8, augment=augment)

    return [
        (
            lambda: mf.MixUp("x", alpha=0),
            "alpha is a number above 0, up to 1,000; received 0.\n"
            "  Near 0 one of the two samples prevails, at 1 any share is as likely, above it halves are "
            "likeliest.",
        ),
        (
            feed(mf.MixUp(["x", "kind", "age"])),
            "MixUp mixes labels as vectors: between two class numbers is another class; 'kind' is a "
            "Category that yields () int32.\n"
            "  Declare it with one_hot=True, and give the model a loss for vectors, such as "
            "categorical_crossentropy.",
        ),
        (
            feed(mf.CutMix(["photo", "age"])),
            "where inputs are mixed, targets are too; CutMix leaves out the target 'kind'.\n"
            "  Name it as well, or pass keep='kind' if it shall stay that of the first sample.",
        ),
        (
            feed(mf.MixUp(["map", "age"], keep="kind")),
            "MixUp takes averages, which integers cannot hold; 'map' is (8, 6) int32.\n"
            '  Declare it as floats, dtype="float32", if averages of it mean anything; else leave it '
            "out.",
        ),
        (
            lambda: mf.Feed(
                mf.Dataset(ROWS, inputs=mf.Numeric("x"), targets=mf.Array("photo")),
                8,
                augment=mf.MixUp(["x", "photo"]),
            ),
            "MixUp takes averages, which label maps do not have; the target 'photo' is (16, 12, 3) "
            "uint8.\n"
            "  Use mf.CutMix, which pastes them; or, if it is an image, declare it with "
            'dtype="float32".',
        ),
        (
            feed(mf.CutMix(["x", "age"], keep="kind")),
            "CutMix pastes boxes of images, of three axes, or of two with whole numbers; none of the "
            "fields that it names is "
            "one: 'x', 'age'.\n"
            "  Name an image as well, or use mf.MixUp.",
        ),
        (
            feed(mf.MixUp("age", keep="kind")),
            "MixUp mixes inputs, and their targets with them; it names no input.\n"
            "  There are: 'map', 'photo', 'x'.",
        ),
        (
            feed(mf.MixUp(["x", "age"], keep=["kind", "age"])),
            "keep= of MixUp names targets that are not mixed; received 'age'.\n"
            "  It is mixed: leave it out of one of the two.",
        ),
        (
            feed(mf.MixUp(["x", "age"], keep=["kin"])),
            "keep= of MixUp names targets that are not mixed; received 'kin'.\n  Did you mean 'kind'?",
        ),
        (
            feed(mf.MixUp(["photo", "age"], keep="kind"), RandomFlip("photo")),
            "samples are mixed once they are done; RandomFlip of 'photo' stands after MixUp.\n"
            "  Put MixUp behind it.",
        ),
        (
            feed(mf.MixUp(["copy", "age"], keep="kind"), copy=mf.Same("x")),
            "'copy' is made from 'x' and mixed with it: name that one in MixUp.",
        ),
        (
            feed(mf.MixUp(["y", "age"], keep="kind")),
            "MixUp names no field of the dataset: 'y'.\n"
            "  There are: 'age', 'kind', 'map', 'photo', 'x'.",
        ),
    ]


@pytest.mark.parametrize("number", range(len(refused())))
def test_what_cannot_be_is_refused(number: int) -> None:
    """Each error says the rule, what came, and the remedy."""
    declare, message = refused()[number]
    with pytest.raises(mf.DeclarationError) as caught:
        declare()
    assert str(caught.value) == message


def test_places_and_label_maps_are_refused(pairs: mf.Dataset) -> None:
    """Boxes are not mixed; label maps have no averages, but are pasted."""
    rows = {"left": pairs.rows.column("left"), "box": [[[0.0, 0.0, 5.0, 5.0]]] * 23}
    inputs = {
        "left": mf.Image("left", (24, 32)),
        "map": mf.Image("left", (12, 16), interpolation="nearest", color_mode="grayscale"),
    }
    targets = {"box": mf.Boxes("box", image="left", pad_to=1)}
    data = mf.Dataset(rows, inputs=inputs, targets=targets)
    for mix, message in (
        (
            mf.CutMix(["left", "map"]),
            "where inputs are mixed, targets are too; CutMix leaves out the target 'box'.\n"
            "  It cannot be mixed: pass keep='box' if it shall stay that of the first sample.",
        ),
        (
            mf.CutMix(["left", "map", "box"]),
            "CutMix does not mix places in images: 'box' is a Boxes.\n"
            "  Pass keep='box' if it shall stay that of the first sample.",
        ),
        (
            mf.MixUp(["left", "map"], keep="box"),
            "MixUp takes averages, which label maps do not have; 'map' is declared with "
            'interpolation="nearest".\n'
            "  Use mf.CutMix, which pastes them.",
        ),
    ):
        with pytest.raises(mf.DeclarationError) as caught:
            mf.Feed(data, 4, augment=mix)
        assert str(caught.value) == message
    feed = mf.Feed(data, 23, augment=mf.CutMix(["left", "map"], keep="box"))
    found, first, draws = together(feed), together(mf.Feed(data, 23)), drawn(feed, 0)
    for name in ("left", "map"):
        wanted = pasted(first[name], first[name][draws["partner"]], draws["box"])
        np.testing.assert_array_equal(found[name], wanted)
    np.testing.assert_array_equal(found["box"], first["box"])
