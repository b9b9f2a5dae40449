"""`mf.Audio`: rates, channels, lengths, segments, and files that are cut, damaged or none of its own."""

from __future__ import annotations

import io
import os
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import soundfile
import soxr
from limits import no_more_files

import multifeed as mf
from multifeed.batch import allocate
from multifeed.fields.contents import _WHOLE_BYTES
from multifeed.files import File

REPLACE = "Replace the file, or leave the row out with data.select."
END = "ends after 800 frames (0.1 s)"
CORRECT = "Correct the row's start and stop, or leave the row out with data.select."


def music(seconds: float, rate: int, channels: int = 2) -> np.ndarray:
    """Return chords and some noise, ``float64[frames, channels]``."""
    time = np.arange(round(seconds * rate)) / rate
    random = np.random.default_rng(round(seconds * 1_000))
    tones = [np.sin(2 * np.pi * 330 * (1 + channel) * time) for channel in range(channels)]
    return 0.4 * np.stack(tones, axis=1) + random.uniform(-0.1, 0.1, (len(time), channels))


def encoded(sound: np.ndarray, rate: int, kind: str = "WAV", coding: str | None = None) -> bytes:
    """Return a sound as the content of a file."""
    stream = io.BytesIO()
    soundfile.write(stream, sound, rate, coding, format=kind)
    return stream.getvalue()


def dataset(
    values: Any, rate: int = 8_000, length: int = 4_000, *, more: Any = None, **options: Any
) -> mf.Dataset:
    """Return a dataset of one Audio, called x, over a column called sound."""
    columns = {"id": [f"p{row}" for row in range(len(values))], "sound": values, **(more or {})}
    return mf.Dataset(columns, inputs={"x": mf.Audio("sound", rate, length, **options)}, key="id")


def read(data: mf.Dataset) -> np.ndarray:
    """Return the values of all rows."""
    plan = data.plan()
    buffers = allocate(len(data), plan.specs)
    plan.fill(np.arange(len(data)), buffers)
    return buffers["x"]


def refused(content: bytes, **options: Any) -> str:
    """Return why a sound that lies in a table is refused, and what is to be done."""
    with pytest.raises(mf.SampleError) as caught:
        read(dataset([content], **options))
    first, row, remedy = str(caught.value).split("\n  ")
    assert row == "Row: 0."
    start = "'x' of sample 'p0' cannot be used: it "
    assert first.startswith(start)
    return f"{first.removeprefix(start)} {remedy}"


def undeclared(*values: Any, more: Any = None, **options: Any) -> str:
    """Return the message of the error that declaring raises."""
    with pytest.raises(mf.DeclarationError) as caught:
        dataset(values or ["x.wav"], more=more, **options)
    return str(caught.value).removeprefix("field 'x': ")


# Formats -------------------------------------------------------------------------------------------


def test_a_stereo_flac_is_what_soundfile_and_soxr_make_of_it(tmp_path: Path) -> None:
    """44.1 kHz to 16 kHz, the mean of both channels: the same bytes as by hand."""
    (tmp_path / "music").write_bytes(encoded(music(1.3, 44_100), 44_100, "FLAC"))
    left_right, rate = soundfile.read(tmp_path / "music", dtype="float32")
    expected = soxr.resample((left_right[:, 0] + left_right[:, 1]) / 2, rate, 16_000)
    found = read(dataset([str(tmp_path / "music")], 16_000, len(expected)))
    assert found.shape == (1, 20_800, 1)
    assert found[0, :, 0].tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("kind", "coding"),
    [
        ("WAV", "PCM_U8"), ("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "PCM_32"), ("WAV", "FLOAT"),
        ("WAV", "DOUBLE"), ("WAV", "ULAW"), ("WAV", "ALAW"), ("WAV", "IMA_ADPCM"), ("WAV", "MS_ADPCM"),
        ("WAVEX", "PCM_16"), ("WAVEX", "PCM_24"), ("RF64", "PCM_16"), ("FLAC", "PCM_S8"),
        ("FLAC", "PCM_16"), ("FLAC", "PCM_24"), ("OGG", "VORBIS"), ("OGG", "OPUS"),
    ],
)  # fmt: skip
def test_every_coding_is_read_as_soundfile_reads_it(kind: str, coding: str) -> None:
    """Integers are -1 to 1; where the rate is the same, nothing is resampled."""
    content = encoded(music(0.1, 8_000), 8_000, kind, coding)
    expected, _ = soundfile.read(io.BytesIO(content), dtype="float32")
    found = read(dataset([content], length=len(expected), mono=False, channels=2))
    assert found[0].tobytes() == expected.tobytes()
    assert 0.3 < np.abs(found).max() < 0.6


def test_big_endian_and_names_make_no_difference(tmp_path: Path) -> None:
    """RIFX is a WAV; and a FLAC is one whatever it is called."""
    sound = np.arange(-400, 400)[:, None] / 512
    plain = read(dataset([encoded(sound, 8_000)], length=800))
    stream = io.BytesIO()
    soundfile.write(stream, sound, 8_000, "PCM_16", format="WAV", endian="BIG")
    assert stream.getvalue()[:4] == b"RIFX"
    assert read(dataset([stream.getvalue()], length=800)).tobytes() == plain.tobytes()
    (tmp_path / "x.wav").write_bytes(encoded(sound, 8_000, "FLAC", "PCM_16"))
    assert read(dataset([str(tmp_path / "x.wav")], length=800)).tobytes() == plain.tobytes()


def test_floats_stay_as_they_are() -> None:
    """Above 1 as well, and what is no number, which `mf.check` tells."""
    sound = np.array([[2.5], [-3], [np.nan], [np.inf]], np.float32)
    data = dataset([encoded(sound, 8_000, "WAV", "FLOAT")], length=4)
    np.testing.assert_array_equal(read(data)[0], sound)
    found = mf.check(data).findings.select(["kind", "detail"]).to_pylist()
    assert {"kind": "not finite", "detail": "holds 2 NaN or infinite numbers"} in found


def test_a_wav_that_was_written_to_a_pipe_ends_where_it_ends() -> None:
    """Its header could not be corrected, and says nothing of its length."""
    content = bytearray(encoded(music(0.1, 8_000, 1), 8_000))
    whole = read(dataset([bytes(content)], length=800))
    struct.pack_into("<I", content, 40, 2**32 - 1)
    assert read(dataset([bytes(content)], length=800)).tobytes() == whole.tobytes()


def test_a_flac_that_was_written_to_a_pipe_does_not_say_how_long_it_is() -> None:
    """What it is cut or padded to cannot be told from one that is truncated."""
    content = bytearray(encoded(music(0.1, 8_000, 1), 8_000, "FLAC"))
    (told,) = struct.unpack_from(">Q", content, 18)
    struct.pack_into(">Q", content, 18, told >> 36 << 36)
    assert refused(bytes(content)) == (
        "does not say how long it is. Write it again, e.g. with ffmpeg -i OLD NEW."
    )


# Channels, length ------------------------------------------------------------------------------------


def test_mono_is_the_mean_of_all_channels() -> None:
    """Of any number."""
    for channels in (1, 2, 3, 6):
        sound = music(0.05, 8_000, channels).astype(np.float32)
        found = read(dataset([encoded(sound, 8_000, "WAV", "FLOAT")], length=400))
        np.testing.assert_allclose(found[0, :, 0], sound.mean(axis=1), atol=1e-7)


def test_channels_are_kept_if_declared() -> None:
    """And are resampled each for itself; other files are refused."""
    content = encoded(music(0.5, 16_000), 16_000, "WAV", "FLOAT")
    both = read(dataset([content], mono=False, channels=2))
    assert both.shape == (1, 4_000, 2)
    for channel in range(2):
        alone = encoded(music(0.5, 16_000)[:, channel], 16_000, "WAV", "FLOAT")
        np.testing.assert_array_equal(both[..., channel], read(dataset([alone]))[..., 0])
    assert refused(content, mono=False, channels=1) == (
        "has 2 channels where channels=1 is declared. Leave the row out with data.select, or pass "
        "mono=True, which averages them."
    )


def test_shorter_sounds_are_filled_and_longer_ones_cut() -> None:
    """At the end, or at the beginning if asked for; a mask tells which samples are its own."""
    sound = music(0.05, 8_000, 1).astype(np.float32)
    content = encoded(sound, 8_000, "WAV", "FLOAT")
    columns = {"sound": [content]}
    inputs = {"x": mf.Audio("sound", 8_000, 600), "mask": mf.Mask("x")}
    ((batch,),) = [mf.Dataset(columns, inputs=inputs)[0]]
    np.testing.assert_array_equal(batch["x"], np.pad(sound, ((0, 200), (0, 0))))
    np.testing.assert_array_equal(batch["mask"], np.arange(600) < 400)
    np.testing.assert_array_equal(read(dataset([content], length=150))[0], sound[:150])
    cut = read(dataset([content], length=150, truncating="pre"))
    np.testing.assert_array_equal(cut[0], sound[-150:])


def test_a_spectrogram_has_its_frames_masked() -> None:
    """Those whose centre lies behind the end; of a whole sound, none."""
    contents = [encoded(music(seconds, 8_000, 1), 8_000) for seconds in (0.05, 0.1, 0.2)]
    field = mf.Audio("sound", 8_000, 800, spectrogram=mf.Spectrogram(n_fft=128, hop=64, mels=10))
    data = mf.Dataset({"sound": contents}, inputs={"x": field, "mask": mf.Mask("x")})
    assert data.spec[0]["x"] == mf.Spec((13, 10, 1), "float32")
    assert [int(data[row][0]["mask"].sum()) for row in range(3)] == [7, 13, 13]
    silent = data[0][0]["x"][8:]
    np.testing.assert_allclose(silent, np.log(1e-10), rtol=1e-6)
    assert (data[1][0]["x"] > silent.max()).all()


def test_a_spectrogram_of_two_channels_has_them_last() -> None:
    """Each is that of its channel alone."""
    sound = music(0.1, 8_000)
    options = {"length": 800, "spectrogram": mf.Spectrogram(n_fft=128, mels=10)}
    both = read(dataset([encoded(sound, 8_000)], mono=False, channels=2, **options))
    assert both.shape == (1, 26, 10, 2)
    for channel in range(2):
        alone = read(dataset([encoded(sound[:, channel], 8_000)], **options))
        assert alone.tobytes() == both[..., channel].tobytes()


# Segments ------------------------------------------------------------------------------------------


def test_integers_count_frames_and_floats_are_seconds(tmp_path: Path) -> None:
    """Frames of the file, as `soundfile.read` has them; a null is the beginning or the end."""
    (tmp_path / "x").write_bytes(encoded(music(1, 8_000, 1), 8_000))
    whole, _ = soundfile.read(tmp_path / "x", dtype="float32")
    names = [str(tmp_path / "x")] * 4
    frames = {"start": [0, 100, None, 7_000], "stop": [100, 300, 50, None]}
    seconds = {"start": [0, 0.0125, None, 0.875], "stop": [0.0125, 0.0375, 0.00625, None]}
    for more in (frames, seconds, {**frames, "start": pa.array(frames["start"], pa.uint16())}):
        found = read(dataset(names, length=1_000, more=more))
        for row, part in enumerate([whole[:100], whole[100:300], whole[:50], whole[7_000:]]):
            np.testing.assert_array_equal(found[row, : len(part), 0], part)
            assert not found[row, len(part) :].any()


def test_the_unit_may_be_forced(tmp_path: Path) -> None:
    """Whole seconds are written as integers, and some tools write frames as floats."""
    content = encoded(music(3, 8_000, 1), 8_000)
    by_seconds = dataset([content], more={"start": [1], "stop": [2]}, unit="seconds", length=9_000)
    by_frames = dataset([content], more={"start": [8e3], "stop": [16e3]}, unit="frames", length=9_000)
    assert read(by_seconds).tobytes() == read(by_frames).tobytes()
    assert np.count_nonzero(read(by_seconds)) == 8_000
    mixed = {"start": [1], "stop": [2.5]}
    assert undeclared(content, more=mixed) == (
        "integers count frames and floats are seconds; 'start' holds integers and 'stop' holds floats.\n"
        '  Pass unit="frames" or unit="seconds".'
    )
    assert np.count_nonzero(read(dataset([content], more=mixed, unit="seconds"))) == 4_000
    assert refused(content, more={"start": [0.5], "stop": [9.0]}, unit="frames") == (
        f"is to be read from 0.5 to 9.0, which are no whole frames. {CORRECT}"
    )


def test_the_columns_are_used_if_they_are_there() -> None:
    """By their default names, by others, or not at all."""
    content = encoded(music(0.1, 8_000, 1), 8_000)
    table = {"start": [400], "from": [600]}
    counts = [
        np.count_nonzero(read(dataset([content], length=800, more=table, **options)))
        for options in ({}, {"start": None}, {"start": "from"}, {"start": None, "stop": "from"})
    ]
    assert counts == [400, 800, 200, 600]
    assert dataset([content], more=table).fields["x"].reads == ("sound", "start")
    assert undeclared(content, stop="end") == (
        "the row table has no column 'end'.\n  There are: 'id', 'sound'."
    )
    assert undeclared(content, more={"start": ["Monday"]}) == (
        "the columns start and stop hold numbers; 'start' holds string.\n"
        "  Pass start=None and stop=None if it does not say which part of a file is meant."
    )
    assert undeclared(content, more={"stop": np.zeros((1, 2))}).startswith(
        "the columns start and stop hold numbers; 'stop' holds float64."
    )


@pytest.mark.parametrize(
    ("start", "stop", "message"),
    [
        (700, 801, f"{END}, where frames 700 to 801 (0.0875 to 0.100125 s) are to be read."),
        (900, None, f"{END}, where frames 900 to 800 (0.1125 to 0.1 s) are to be read."),
        (0.09, 0.11, f"{END}, where frames 720 to 880 (0.09 to 0.11 s) are to be read."),
        (5, 5, "is to be read from 5 to 5."),
        (-1, 5, "is to be read from -1 to 5."),
        (6, 5, "is to be read from 6 to 5."),
        (0.0, float("inf"), "is to be read from 0 to inf."),
        (float("inf"), None, "is to be read from inf to the end."),
    ],
)  # fmt: skip
def test_a_segment_beyond_its_file_is_told(start: Any, stop: Any, message: str) -> None:
    """With where the file ends, and what was asked for."""
    content = encoded(music(0.1, 8_000, 1), 8_000)
    more = {"start": [start]} if stop is None else {"start": [start], "stop": [stop]}
    assert refused(content, more=more) == f"{message} {CORRECT}"


@pytest.mark.parametrize("rates", [(44_100, 16_000), (8_000, 22_050), (48_000, 8_000), (11_025, 8_001)])
@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG"])
def test_a_segment_is_that_of_the_whole_at_the_rate(
    rates: tuple[int, int], kind: str, tmp_path: Path
) -> None:
    """What lies around it counts as in the whole, so segments that adjoin make it up again."""
    rate, other = rates
    (tmp_path / "x").write_bytes(encoded(music(2, rate), rate, kind))
    names = [str(tmp_path / "x")]
    whole = read(dataset(names, other, 2 * other))[0, :, 0]
    ends = [0, rate // 3 + 1, rate // 3 + 20, rate, 2 * rate - 20, 2 * rate]
    more = {"start": ends[:-1], "stop": ends[1:]}
    inputs = {"x": mf.Audio("sound", other, 2 * other), "mask": mf.Mask("x")}
    data = mf.Dataset({"sound": names * 5, **more}, inputs=inputs)
    parts = [data[row][0] for row in range(5)]
    joined = np.concatenate([part["x"][part["mask"], 0] for part in parts])
    assert len(joined) == len(whole)
    np.testing.assert_allclose(joined, whole, atol=3e-6)


def test_only_the_segment_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a WAV of 8 MB in a folder or in a tar, some pages; the rest may even be damaged."""
    content = encoded(music(60, 48_000, 1), 48_000, "WAV", "PCM_24")
    (tmp_path / "x.wav").write_bytes(content)
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.add(tmp_path / "x.wav", "x.wav")
        start = archive.offset - len(content) // 512 * 512 - 512
    assert (tmp_path / "x.tar").read_bytes()[start : start + 12] == content[:12]
    reads: list[int] = []
    read_part = File.stream

    def stream(file: File) -> io.BufferedReader:
        whole = file.read

        def counting(start: int = 0, count: int | None = None) -> bytes:
            found = whole(start, count)
            reads.append(len(found))
            return found

        file.read = counting  # type: ignore[method-assign]
        return read_part(file)

    monkeypatch.setattr(File, "stream", stream)
    part = {"start": [30.0], "stop": [30.1]}
    expected, _ = soundfile.read(tmp_path / "x.wav", start=1_440_000, stop=1_444_800, dtype="float32")
    for name in ("x.wav", f"x.tar::x.wav@{start}+{len(content)}"):
        reads.clear()
        found = read(dataset([str(tmp_path / name)], 48_000, 4_800, more=part))
        np.testing.assert_array_equal(found[0, :, 0], expected)
        assert 0 < sum(reads) < 400_000


def test_a_large_file_is_read_as_far_as_it_is_needed(tmp_path: Path) -> None:
    """Without any segment, and though it has a gap of gigabytes behind its beginning."""
    content = bytearray(encoded(music(0.1, 8_000, 1), 8_000))
    size = 3 * 2**30
    assert size > _WHOLE_BYTES
    struct.pack_into("<I", content, 40, size - 44)
    with (tmp_path / "x.wav").open("wb") as file:
        file.write(content)
        file.truncate(size)
    found = read(dataset([str(tmp_path / "x.wav")], length=900))
    assert np.count_nonzero(found) == 800
    assert refused(bytes(content))[:12] == "is truncated"


# Files that are none ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "RF64"])
def test_a_sound_that_is_cut_is_an_error_wherever_it_ends(kind: str) -> None:
    """libsndfile would give a WAV and an Ogg for what is left of them."""
    content = encoded(music(0.5, 8_000), 8_000, kind)
    for share in range(1, 100, 3):
        refused(content[: len(content) * share // 100])
    assert read(dataset([content], length=10)).any()


def test_a_cut_sound_is_told_by_what_is_missing() -> None:
    """Bytes of a WAV, the last page of an Ogg."""
    content = encoded(music(0.1, 8_000, 1), 8_000)
    assert refused(content[:1_000]) == (
        f"is truncated: it has 956 of 1,600 bytes of sound that its header claims. {REPLACE}"
    )
    for cut in (content[:40], content[:20], b"RIFF"):
        assert refused(cut).startswith("is a damaged sound file (")
    content = encoded(music(0.5, 8_000, 1), 8_000, "OGG")
    last = content.rindex(b"OggS")
    for end in (last, last + 20, last + 30, len(content) - 1):
        assert refused(content[:end]) == (
            f"is truncated: the last page of an Ogg file is missing. {REPLACE}"
        )


@pytest.mark.parametrize("kind", ["FLAC", "OGG"])
def test_a_flipped_bit_is_an_error(kind: str) -> None:
    """FLAC and Ogg have checksums; libsndfile does not mind those of an Ogg."""
    content = encoded(music(0.5, 8_000, 1), 8_000, kind)
    # Behind the header of a FLAC, which has none.
    for place in np.linspace(len(content) // 3, len(content) - 1, 20).astype(int):
        flipped = bytearray(content)
        flipped[place] ^= 0x10
        assert refused(bytes(flipped), length=9_000).startswith("is ")
    if kind == "OGG":
        assert refused(bytes(flipped)) == (
            f"is a damaged Ogg file (in its page at byte {content.rindex(b'OggS'):,}). {REPLACE}"
        )


def test_the_last_page_of_an_ogg_is_seen_for_a_segment_too(tmp_path: Path) -> None:
    """All others are not, which would take as long as reading all of it."""
    content = encoded(music(20, 16_000), 16_000, "OGG")
    assert len(content) > 70_000
    more = {"start": [0], "stop": [800]}
    (tmp_path / "x").write_bytes(content[:-100])
    data = dataset([str(tmp_path / "x")], more=more)
    with pytest.raises(mf.SampleError, match="the last page of an Ogg file is missing"):
        read(data)
    (tmp_path / "x").write_bytes(content)
    assert read(data).any()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"\xff\xfb\x90\x64" + bytes(100),
            "is no WAV, FLAC or Ogg file, or damaged at its start (b'\\xff\\xfb\\x90d'). Convert the "
            "file, or leave the row out with data.select.",
        ),
        (
            encoded(np.zeros((100, 1)), 8_000, "AIFF"),
            "is no WAV, FLAC or Ogg file, or damaged at its start (b'FORM'). Convert the file, or leave "
            "the row out with data.select.",
        ),
        (
            encoded(np.zeros((800, 1)), 8_000, "WAV", "GSM610"),
            "is WAV with sound coded as GSM610, which is not read. Convert it to WAV, FLAC or Ogg.",
        ),
        (encoded(np.zeros((0, 1)), 8_000), f"holds no sound (0 frames). {REPLACE}"),
        (
            encoded(np.zeros((1, 1)), 48_000),
            "is too short: 1 frames at 48,000 Hz make no sample at 8,000 Hz. Leave the row out with "
            "data.select.",
        ),
        (
            encoded(np.zeros((8, 1)), 20_000_000),
            f"claims 20,000,000 frames a second, where at most 10,000,000 are read. {REPLACE}",
        ),
    ],
    ids=["mp3", "aiff", "gsm", "no sound", "too short", "rate"],
)
def test_what_is_no_sound_of_ours_is_told(content: bytes, message: str) -> None:
    """By its first bytes, its coding, or what it claims."""
    assert refused(content) == message


def test_more_numbers_than_the_limit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before memory is asked for them."""
    monkeypatch.setattr("multifeed.fields.sound.MAX_NUMBERS", 1_000)
    assert refused(encoded(music(0.1, 8_000), 8_000)) == (
        "claims 800 frames of 2 channels for this sample, where 1,000 numbers are the limit. Cut the "
        "file, or declare a shorter length."
    )
    assert read(dataset([encoded(music(0.1, 8_000), 8_000)], length=500)).any()


def test_what_reading_raises_is_told_and_not_that_the_sound_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """libsndfile asks through a callback, which cannot raise; nothing is printed either."""
    content = encoded(music(9, 8_000), 8_000, "FLAC")
    assert len(content) > 2**17
    (tmp_path / "x.tar").write_bytes(content)
    data = dataset([f"{tmp_path}/x.tar::x@0+{len(content)}"], more={"start": [8.9]})
    assert read(data).any()
    read_part = mf.files.Part.read

    def failing(file: Any, start: int = 0, count: int | None = None) -> bytes:
        if start:
            raise mf.errors.BadValue("cannot be read (no route to host)", "Try again.")
        return read_part(file, start, count)

    monkeypatch.setattr(mf.files.Part, "read", failing)
    with pytest.raises(mf.SampleError, match=r"cannot be read \(no route to host\)"):
        read(data)
    assert capfd.readouterr() == ("", "")


# Declaration -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 0}, "rate must be a whole number of at least 1; received 0."),
        ({"length": 0.5}, "length must be a whole number of at least 1; received 0.5."),
        ({"unit": "ms"}, "unit must be one of None, 'frames', 'seconds'; received 'ms'."),
        ({"truncating": "end"}, "truncating must be one of 'post', 'pre'; received 'end'."),
        (
            {"mono": False},
            "channels says how many there are where mono=False keeps them; received mono=False, "
            "channels=None.\n  Pass e.g. mono=False, channels=2.",
        ),
        (
            {"channels": 2},
            "channels says how many there are where mono=False keeps them; received mono=True, "
            "channels=2.\n  Pass e.g. mono=False, channels=2.",
        ),
        (
            {"mono": False, "channels": 0},
            "channels must be a whole number of at least 1; received 0.",
        ),
        ({"spectrogram": True}, "spectrogram is an mf.Spectrogram or None; received True."),
    ],
)
def test_what_cannot_be_is_told(options: dict[str, Any], message: str) -> None:
    """Where it is declared."""
    assert undeclared(**options) == message


def test_a_column_of_something_else_is_told() -> None:
    """Numbers are no names of files."""
    assert undeclared(1.5) == (
        "mf.Audio reads a column of file names or encoded sounds; 'sound' holds double.\n"
        "  Declare arrays that are decoded already as mf.Array('sound')."
    )
    with pytest.raises(mf.DeclarationError, match="mf.Audio reads one column, by name; received 3"):
        mf.Audio(3, 8_000, 100)  # type: ignore[arg-type]


def test_a_package_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra that brings it."""
    monkeypatch.setitem(__import__("sys").modules, "soxr", None)
    with pytest.raises(mf.DeclarationError) as caught:
        mf.Audio("x", 8_000, 100)
    assert str(caught.value) == (
        "mf.Audio is run by the package soxr, which is not installed.\n"
        '  Run pip install "multifeed[audio]".'
    )


# What others make of it ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG"])
def test_a_limit_of_open_files_makes_no_sound_a_damaged_one(tmp_path: Path, kind: str) -> None:
    """Row 12: libsndfile opens files once more; where it cannot, it reads what is open."""
    (tmp_path / "x").write_bytes(encoded(music(1, 8_000), 8_000, kind))
    data = dataset([str(tmp_path / "x")])
    expected = read(data)
    with no_more_files() as opened:
        with pytest.raises(mf.SampleError, match="Too many open files"):
            read(data)
        os.close(opened.pop())
        assert read(data).tobytes() == expected.tobytes()


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG"])
def test_what_libsndfile_reads_is_counted(tmp_path: Path, kind: str) -> None:
    """As the bytes of the file, whatever part of them was looked at before."""
    (tmp_path / "x").write_bytes(encoded(music(30, 8_000), 8_000, kind))
    with mf.Feed(dataset([str(tmp_path / "x")]), 1) as feed:
        list(feed)
        told = feed.report().fields["x"]
    assert told.loaded_bytes == told.samples * (tmp_path / "x").stat().st_size > 0


def test_check_describes_sounds(tmp_path: Path) -> None:
    """Rates and channels that few have stand out; so does silence, and a file that is there twice."""
    for number in range(6):
        rate = 44_100 if number == 3 else 8_000
        sound = music(0.1 + number / 100, rate, 1) * (number != 4)
        (tmp_path / f"{number}").write_bytes(encoded(sound, rate))
    (tmp_path / "6").write_bytes((tmp_path / "0").read_bytes())
    found = mf.check(dataset([str(tmp_path / f"{number}") for number in range(7)]))
    said = {(each["kind"], each["row"]) for each in found.findings.to_pylist()}
    assert said == {("unusual rate", 3), ("blank", 4), ("duplicate file", 0), ("duplicate file", 6)}


def test_sequences_transform_it() -> None:
    """Noise, masks and shifts act on waves and on spectrograms, with the same bytes each time."""
    contents = [encoded(music(0.1, 8_000, 1), 8_000)] * 4
    bands = mf.Audio("sound", 8_000, 800, spectrogram=mf.Spectrogram(n_fft=128, mels=10))
    inputs = {"wave": mf.Audio("sound", 8_000, 800), "bands": bands}
    data = mf.Dataset({"sound": contents}, inputs=inputs)
    augment = [
        mf.Noise("wave", sigma=0.01),
        mf.RandomShift(["wave", "bands"], most=0.2),
        mf.TimeMask(["wave", "bands"], most=0.3),
        mf.FrequencyMask("bands", most=4, value=-9),
    ]
    with mf.Feed(data, 4, augment=augment, seed=1) as feed, mf.Feed(data, 4, augment=augment) as other:
        (batch,), (again,), (different,) = feed.batch(0, 0), feed.batch(0, 0), other.batch(0, 0)
    for name, plain in data[0][0].items():
        assert batch[name].tobytes() == again[name].tobytes() != different[name].tobytes()
        assert not (batch[name] == plain).all()
    assert (batch["bands"] == -9).any()


def test_one_sound_is_prepared_as_bytes() -> None:
    """As a server gets it."""
    content = encoded(music(0.1, 8_000), 8_000)
    data = dataset([content])
    found = mf.prepare(data, {"sound": content})
    np.testing.assert_array_equal(found["x"][0], data[0][0]["x"])
