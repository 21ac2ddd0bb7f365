"""Pictures from seeds: the same bytes every time, and files that every viewer opens."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ml.artifact import ArtifactError
from ml.data.images import grid, to_image
from ml.latents import Seed, parse
from ml.serve.images import Sampler, encode, encode_png, enlarge, from_pixels, to_pixels
from tests.conditional import LABELS, write_conditional
from tests.ml.tiny import Finished

Finish = Callable[[str], Finished]


@pytest.fixture(scope="module")
def sampler(finished: Finish) -> Sampler:
    return Sampler.open(finished("gan").run.artifact)


def noise(height: int, width: int, channels: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, channels), dtype=np.uint8)


def opened(data: bytes) -> Image.Image:
    Image.open(io.BytesIO(data)).verify()
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture


# -- drawing ---------------------------------------------------------------------------------------------------------


def test_a_seed_is_the_same_bytes_whatever_else_is_drawn(sampler: Sampler, finished: Finish) -> None:
    first = sampler.draw(7).tobytes()
    for seed in (0, 8, 2**32 - 1):
        sampler.draw(seed, truncation=0.3)
        sampler.realness(sampler.draw(seed))
    assert sampler.draw(7).tobytes() == first
    assert Sampler.open(finished("gan").run.artifact).draw(7).tobytes() == first
    png = encode(to_pixels(sampler.draw(7)), "png", {"seed": "7"})
    assert encode(to_pixels(sampler.draw(7)), "png", {"seed": "7"}) == png


def test_every_seed_is_another_picture(sampler: Sampler) -> None:
    drawn = [sampler.draw(seed) for seed in range(20)]
    assert len({picture.tobytes() for picture in drawn}) == 20
    assert all(picture.shape == (1, 1, 28, 28) and picture.dtype == np.float32 for picture in drawn)
    assert all(np.abs(picture).max() <= 1 + 1e-6 for picture in drawn)


def test_truncation_makes_pictures_more_alike_until_they_are_one(sampler: Sampler) -> None:
    def spread(truncation: float) -> float:
        return float(np.concatenate([sampler.draw(seed, truncation) for seed in range(10)]).std(0).mean())

    assert spread(1.0) > 1.2 * spread(0.5) > 0
    assert len({sampler.draw(seed, truncation=0.0).tobytes() for seed in range(10)}) == 1


def test_realness_is_a_probability(sampler: Sampler) -> None:
    seen = [sampler.realness(sampler.draw(seed)) for seed in range(5)]
    assert all(0 < value < 1 for value in seen)
    far = np.full((1, 1, 28, 28), 1e6, np.float32)  # a logit beyond what exp can hold
    assert all(0 <= value <= 1 for value in (sampler.realness(far), sampler.realness(-far)))


def test_the_tiny_models_pictures_look_like_its_discs(sampler: Sampler) -> None:
    pixels = np.stack([to_pixels(sampler.draw(seed)) for seed in range(30)])[..., 0].astype(float)
    assert pixels[:, 11:17, 11:17].mean() > pixels[:, :3].mean() + 50  # bright in the middle, dark at the rim


def test_neighbours_and_children_are_drawn_by_their_addresses(sampler: Sampler) -> None:
    for address in ("7~1@0.2", "7x12~3", "7_12@0.5"):
        assert sampler.draw(parse(address)).tobytes() == sampler.draw(parse(address)).tobytes()
        assert sampler.draw(parse(address)).tobytes() != sampler.draw(7).tobytes()
    near = np.abs(sampler.draw(parse("7~1@0.01")) - sampler.draw(7)).mean()
    far = np.mean([np.abs(sampler.draw(parse(f"7~{i}@1")) - sampler.draw(7)).mean() for i in range(1, 9)])
    assert near < 0.3 * far


# -- with labels, and calibrated -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def conditional(finished: Finish, tmp_path_factory: pytest.TempPathFactory) -> Sampler:
    folder = tmp_path_factory.mktemp("conditional") / "version"
    write_conditional(folder, finished("gan").run.artifact)
    return Sampler.open(folder)


def bright(picture: np.ndarray) -> int:
    return int(picture[0, 0].reshape(12, 3, 4).mean((0, 2)).argmax())


def test_a_label_is_drawn_when_asked_for_and_else_the_latent_chooses(conditional: Sampler) -> None:
    assert conditional.labels == LABELS
    assert (conditional.size, conditional.channels) == (12, 1)
    assert [bright(conditional.draw(7, 1.0, label)) for label in range(3)] == [0, 1, 2]
    own = [conditional.label_of(Seed(seed)) for seed in range(30)]
    assert [bright(conditional.draw(seed)) for seed in range(30)] == own
    assert set(own) == {0, 1, 2}


def test_realness_is_calibrated_and_of_the_label(conditional: Sampler) -> None:
    place = conditional.draw(7, 0.0, 1)
    logit = float(np.where(np.arange(12) // 4 == 1, place[0, 0], -place[0, 0]).mean())
    assert conditional.realness(place, 1) == pytest.approx(1 / (1 + np.exp(-(4 * logit - 1))), abs=1e-5)
    assert conditional.realness(place, 1) > conditional.realness(place, 0)
    assert conditional.realness_of_any(place) == (conditional.realness(place, 1), 1)


def test_without_labels_and_calibration_it_is_the_discriminators_own_word(sampler: Sampler, finished: Finish) -> None:
    picture = sampler.draw(7)
    (logit,) = sampler._discriminator.run(None, {"picture": picture})
    serving = sampler.manifest.serving.get("calibration", {"scale": 1, "offset": 0})
    expected = 1 / (1 + np.exp(-(serving["scale"] * logit[0] + serving["offset"])))
    assert sampler.realness(picture) == pytest.approx(expected)
    assert sampler.realness_of_any(picture) == (sampler.realness(picture), None)
    assert sampler.label_of(Seed(7)) is None


# -- pixels ----------------------------------------------------------------------------------------------------------


def test_values_become_pixels_without_leaving_the_range() -> None:
    values = np.array([-1.5, -1.0, 0.0, 1.0, 1.5], np.float32).reshape(1, 1, 1, 5)
    assert to_pixels(values).reshape(-1).tolist() == [0, 0, 128, 255, 255]


def test_channels_end_up_last() -> None:
    values = np.stack([np.full((2, 3), value, np.float32) for value in (-1, 0, 1)])[None]
    pixels = to_pixels(values)
    assert pixels.shape == (2, 3, 3)
    assert (pixels == (0, 128, 255)).all()
    assert pixels.flags.c_contiguous


def test_pixels_become_the_values_they_came_from() -> None:
    pixels = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    values = from_pixels(pixels)
    assert (values.shape, values.dtype) == ((1, 3, 16, 16), np.float32)
    assert (values.min(), values.max()) == (-1, 1)
    np.testing.assert_array_equal(to_pixels(values), pixels)


def test_enlarging_makes_squares() -> None:
    pixels = noise(2, 3, 3)
    large = enlarge(pixels, 4)
    assert large.shape == (8, 12, 3)
    np.testing.assert_array_equal(large[::4, ::4], pixels)
    assert (large[:4, :4] == pixels[0, 0]).all()
    np.testing.assert_array_equal(enlarge(pixels, 1), pixels)


# -- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 3), (28, 28), (64, 300)])
def test_a_png_decodes_to_the_same_pixels_with_its_notes(height: int, width: int, channels: int, mode: str) -> None:
    pixels, notes = noise(height, width, channels), {"seed": "7", "model": "pictures@3", "Software": "Inkling"}
    picture = opened(encode_png(pixels, notes))
    assert (picture.format, picture.mode, picture.size) == ("PNG", mode, (width, height))
    np.testing.assert_array_equal(np.asarray(picture).reshape(pixels.shape), pixels)
    assert picture.text == notes  # type: ignore[attr-defined]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("format", ["png", "webp"])
def test_an_enlarged_picture_is_lossless_too(format: Any, scale: int, channels: int) -> None:
    pixels = noise(7, 5, channels)
    picture = opened(encode(pixels, format, {}, scale)).convert("RGB")
    np.testing.assert_array_equal(
        np.asarray(picture), np.broadcast_to(enlarge(pixels, scale), (7 * scale, 5 * scale, 3))
    )


def test_a_png_of_drawn_pictures_is_about_as_small_as_pillows(sampler: Sampler) -> None:
    sheet = grid(np.stack([to_pixels(sampler.draw(seed)) for seed in range(16)]), 4)
    for pixels in (sheet, sheet.repeat(3, 2) // np.array([1, 2, 3], np.uint8)):
        for scale in (1, 2):
            out = io.BytesIO()
            to_image(enlarge(pixels, scale)).save(out, "png")
            assert len(encode_png(pixels, {}, scale)) < 1.3 * len(out.getvalue())


def test_a_png_of_a_smooth_picture_is_small() -> None:
    smooth = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], 256, 1).repeat(3, 2)
    assert len(encode_png(smooth, {})) < smooth.size / 50


def test_a_strided_picture_is_encoded_as_it_looks() -> None:
    pixels = noise(10, 20, 3)[::2, ::-1]
    np.testing.assert_array_equal(np.asarray(opened(encode_png(pixels, {}))), pixels)


def test_a_note_in_another_alphabet_does_not_break_the_file() -> None:
    picture = opened(encode_png(noise(2, 2, 1), {"model": "그림 é"}))
    assert picture.text == {"model": "?? é"}  # type: ignore[attr-defined]


@pytest.mark.parametrize("channels", [1, 3])
def test_webp_is_lossless(channels: int) -> None:
    pixels = noise(31, 17, channels)
    picture = opened(encode(pixels, "webp", {}))
    assert picture.format == "WEBP"
    np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), np.broadcast_to(pixels, (31, 17, 3)))


def test_the_format_is_the_one_asked_for() -> None:
    pixels = noise(4, 4, 3)
    assert encode(pixels, "png", {"a": "b"}) == encode_png(pixels, {"a": "b"})


# -- versions that cannot be used ------------------------------------------------------------------------------------


def test_a_text_model_draws_no_pictures(lecture_run: Finished) -> None:
    with pytest.raises(ArtifactError, match="a lstm model predicts words and draws no pictures"):
        Sampler.open(lecture_run.run.artifact)


@pytest.mark.parametrize(
    "serving",
    [
        {},
        {"latent": 8},
        {"latent": "many", "labels": []},
        {"latent": 8, "labels": None},
        {"latent": 8, "labels": [], "calibration": {"scale": 1}},
        {"latent": 8, "labels": [], "calibration": {"scale": "inf", "offset": 0}},
        {"latent": 8, "labels": [], "calibration": 3},
    ],
)
def test_a_manifest_that_does_not_say_how_to_draw_is_refused(
    finished: Finish, tmp_path: Path, serving: dict[str, Any]
) -> None:
    shutil.copytree(finished("gan").run.artifact, tmp_path / "version")
    path = tmp_path / "version" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"serving": serving}))
    with pytest.raises(ArtifactError, match="does not say how to draw"):
        Sampler.open(tmp_path / "version")


def test_a_discriminator_that_takes_no_pictures_is_refused(finished: Finish, tmp_path: Path) -> None:
    shutil.copytree(finished("gan").run.artifact, tmp_path / "version")
    shutil.copy(tmp_path / "version" / "generator.onnx", tmp_path / "version" / "discriminator.onnx")
    with pytest.raises(ArtifactError, match="what pictures it takes"):
        Sampler(tmp_path / "version", finished("gan").manifest)


@pytest.mark.parametrize("name", ["generator.onnx", "discriminator.onnx"])
def test_half_a_version_is_not_opened(finished: Finish, tmp_path: Path, name: str) -> None:
    shutil.copytree(finished("gan").run.artifact, tmp_path / "version")
    (tmp_path / "version" / name).unlink()
    with pytest.raises(ArtifactError, match=name):
        Sampler.open(tmp_path / "version")
