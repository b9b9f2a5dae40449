"""`mf.Video`: which frames are taken, that passing over others changes nothing, and files that lie."""

from __future__ import annotations

import io
import shutil
import struct
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

import multifeed as mf
from multifeed.batch import allocate
from multifeed.fields import film
from multifeed.state import declared

REPLACE = "Replace the file, or leave the row out with data.select."
CORRECT = "Correct the row's start and stop, or leave the row out with data.select."
HEIGHT, WIDTH, BITS = 64, 96, 6


def drawn(number: int) -> np.ndarray:
    """Return a picture that spells a number in squares, over a ramp that moves."""
    picture = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    picture[...] = (np.arange(WIDTH)[:, None] + 3 * number) % 96
    for bit in range(BITS):
        picture[8:24, 16 * bit : 16 * bit + 12] = 255 * (number >> bit & 1)
    return picture


def number_of(frame: np.ndarray) -> int:
    """Return the number that a frame spells."""
    return sum(int(frame[16, 16 * bit + 6].mean() > 128) << bit for bit in range(BITS))


@cache
def encoded(
    kind: str = "mp4",
    coding: str = "libx264",
    frames: int = 40,
    *,
    rate: int = 10,
    times: tuple[int, ...] | None = None,
    gop: int = 8,
    turned: int = 0,
    sound: bool = False,
    writing: tuple[tuple[str, str], ...] = (),
    **options: str,
) -> bytes:
    """Return a video of numbered frames as the content of a file."""
    file = Path(tempfile.mkdtemp()) / "film"
    with av.open(str(file), "w", format=kind, options=dict(writing)) as opened:
        video = opened.add_stream(coding, rate=rate, options=options)
        video.height, video.width, video.pix_fmt, video.gop_size = HEIGHT, WIDTH, "yuv420p", gop
        video.codec_context.thread_count = 1
        if turned:
            video.set_display_rotation(turned)
        if sound:
            add_sound(opened, frames / rate)
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(drawn(number))
            frame.pts = number if times is None else times[number]
            frame.time_base = Fraction(1, rate)
            opened.mux(video.encode(frame))
        opened.mux(video.encode())
    content = file.read_bytes()
    shutil.rmtree(file.parent)
    return content


def add_sound(opened: Any, seconds: float) -> None:
    """Write silence to a file."""
    audio = opened.add_stream("aac", rate=8_000)
    frame = av.AudioFrame.from_ndarray(np.zeros((1, int(8_000 * seconds)), np.float32), "fltp", "mono")
    frame.rate = 8_000
    opened.mux(audio.encode(frame))
    opened.mux(audio.encode())


def decoded(content: bytes) -> list[np.ndarray]:
    """Return all frames, as PyAV decodes them one after the other."""
    with av.open(io.BytesIO(content)) as opened:
        return [frame.to_ndarray(format="rgb24") for frame in opened.decode(video=0)]


def dataset(
    values: Any, frames: int = 4, size: Any = (HEIGHT, WIDTH), *, more: Any = None, **options: Any
) -> mf.Dataset:
    """Return a dataset of one Video, called x, over a column called film."""
    columns = {"id": [f"p{row}" for row in range(len(values))], "film": values, **(more or {})}
    return mf.Dataset(columns, inputs={"x": mf.Video("film", frames, size, **options)}, key="id")


def read(data: mf.Dataset) -> np.ndarray:
    """Return the values of all rows."""
    plan = data.plan()
    buffers = allocate(len(data), plan.specs)
    plan.fill(np.arange(len(data)), buffers)
    return buffers["x"]


def taken(content: bytes, frames: int, *, more: Any = None, **options: Any) -> list[int]:
    """Return the numbers of the frames that are taken of a video."""
    more = more and {name: [value] for name, value in more.items()}
    return [number_of(frame) for frame in read(dataset([content], frames, more=more, **options))[0]]


def refused(content: bytes, **options: Any) -> str:
    """Return why a video that lies in a table is refused, and what is to be done."""
    with pytest.raises(mf.SampleError) as caught:
        read(dataset([content], **options))
    first, row, remedy = str(caught.value).split("\n  ")
    assert row == "Row: 0."
    start = "'x' of sample 'p0' cannot be used: it "
    assert first.startswith(start)
    return f"{first.removeprefix(start)} {remedy}"


def undeclared(value: Any = "x.mp4", more: Any = None, **options: Any) -> str:
    """Return the message of the error that declaring raises."""
    with pytest.raises(mf.DeclarationError) as caught:
        dataset([value], more=more, **options)
    return str(caught.value).removeprefix("field 'x': ")


# Which frames ----------------------------------------------------------------------------------------

X264_OPEN = "open-gop=1:keyint=8:scenecut=0:bframes=3:b-pyramid=normal"
X265_OPEN = "open-gop=1:keyint=8:scenecut=0:bframes=3:log-level=none"
CODINGS: dict[str, dict[str, Any]] = {
    "H.264": {},
    "H.264 without B-frames": {"preset": "ultrafast", "tune": "zerolatency"},
    "H.264, open groups": {"x264-params": X264_OPEN},
    "H.264, one keyframe": {"gop": 1_000, "x264-params": "scenecut=0"},
    "H.264, keyframes only": {"gop": 1},
    "H.264, fragments": {"writing": (("movflags", "frag_keyframe+empty_moov"),)},
    "H.264, index first": {"writing": (("movflags", "faststart"),)},
    "H.264 in MOV": {"kind": "mov"},
    "H.264 in Matroska": {"kind": "matroska"},
    "HEVC": {"coding": "libx265", "x265-params": "log-level=none"},
    "HEVC, open groups": {"coding": "libx265", "x265-params": X265_OPEN},
    "AV1": {"coding": "libsvtav1", "preset": "12"},
    "MPEG-4": {"coding": "mpeg4"},
    "VP8": {"kind": "webm", "coding": "libvpx"},
    "VP9": {"kind": "webm", "coding": "libvpx-vp9", "deadline": "realtime", "cpu-used": "8"},
    "VP9 without cues": {
        "kind": "webm", "coding": "libvpx-vp9", "deadline": "realtime", "cpu-used": "8",
        "writing": (("cues_to_front", "0"), ("reserve_index_space", "0")),
    },
}  # fmt: skip
each_coding = pytest.mark.parametrize("coding", CODINGS)


@each_coding
@pytest.mark.parametrize("worth", [film._WORTH_FRAMES, 0])
def test_what_is_passed_over_changes_nothing(
    coding: str, worth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every choice of frames is, to the byte, that of decoding all of them one after the other."""
    monkeypatch.setattr(film, "_WORTH_FRAMES", worth)
    content = encoded(**CODINGS[coding])
    everything = decoded(content)
    assert len(everything) == 40
    found = read(dataset([content], 40))[0]
    np.testing.assert_array_equal(found, everything)
    for frames in (1, 2, 3, 5, 7, 13):
        expected = [int(40 * (2 * place + 1) / (2 * frames)) for place in range(frames)]
        found = read(dataset([content], frames))[0]
        np.testing.assert_array_equal(found, [everything[number] for number in expected])
    starts = [each / 10 for each in range(0, 38, 3)]
    more = {"start": starts, "stop": [start + 0.2 for start in starts]}
    for row, pair in enumerate(read(dataset([content] * len(starts), 2, more=more))):
        np.testing.assert_array_equal(pair, everything[3 * row : 3 * row + 2])


def test_keyframes_save_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 40 frames with a keyframe at every 8th, few more are decoded than are asked for."""
    counts: list[int] = []
    decode = film._Reel._decoded

    def counting(self: Any, *arguments: Any) -> Iterator[Any]:
        for frame in decode(self, *arguments):
            counts.append(1)
            yield frame

    monkeypatch.setattr(film._Reel, "_decoded", counting)
    assert taken(encoded(), 2) == [10, 30]
    assert len(counts) <= 16
    counts.clear()
    more = {"start": 3.3, "stop": 3.5}
    assert taken(encoded(), 2, more=more) == [33, 34]
    assert len(counts) <= 6
    counts.clear()
    assert taken(encoded(**CODINGS["H.264, one keyframe"]), 2) == [10, 30]
    assert len(counts) >= 30


def test_frames_are_taken_evenly() -> None:
    """In the middle of equal parts; of a short video, some several times."""
    assert taken(encoded(), 4) == [5, 15, 25, 35]
    assert taken(encoded(frames=3), 3) == [0, 1, 2]
    assert taken(encoded(frames=3), 7) == [0, 0, 1, 1, 1, 2, 2]
    assert taken(encoded(frames=1), 2) == [0, 0]


def test_frames_are_taken_by_time() -> None:
    """From the start on; where the video ends, the rest is 0, and a mask tells."""
    assert taken(encoded(), 4, rate=5) == [0, 2, 4, 6]
    assert taken(encoded(), 4, rate=2.5) == [0, 4, 8, 12]
    assert taken(encoded(), 4, rate=Fraction(5, 2)) == [0, 4, 8, 12]
    assert "Fraction(5, 2)" in declared(mf.Video("film", 4, 8, rate=Fraction(5, 2)))
    assert taken(encoded(), 4, rate=30) == [0, 0, 0, 1]
    # WebM rounds times to milliseconds: at 30 frames a second each third one comes late.
    webm = encoded("webm", "libvpx", 31, rate=30)
    assert taken(webm, 31, rate=30) == list(range(31))
    inputs = {"x": mf.Video("film", 6, (HEIGHT, WIDTH), rate=10), "mask": mf.Mask("x")}
    sample = mf.Dataset({"film": [encoded(frames=4)]}, inputs=inputs)[0][0]
    assert sample["mask"].tolist() == [True] * 4 + [False] * 2
    assert [number_of(frame) for frame in sample["x"][:4]] == [0, 1, 2, 3]
    assert not sample["x"][4:].any()
    with pytest.raises(mf.DeclarationError, match="'x' \\(Video\\) does not pad"):
        mf.Dataset({"film": ["x"]}, inputs={"x": mf.Video("film", 6, 8), "mask": mf.Mask("x")})


@pytest.mark.parametrize("kind", ["mp4", "webm"])
def test_frames_that_last_longer_are_shown_longer(kind: str) -> None:
    """A variable frame rate goes by the times in the file, not by counting."""
    times = (0, 1, 2, 3, 13, 14, 15, 25)
    coding = "libx264" if kind == "mp4" else "libvpx"
    # Without frames that are decoded before they are shown: an MP4 with them and with such times does
    # not say how long it is.
    options = {"tune": "zerolatency"} if kind == "mp4" else {}
    content = encoded(kind, coding, len(times), times=times, **options)
    shown = [max(number for number, time in enumerate(times) if time <= each) for each in range(26)]
    assert taken(content, 13, rate=5) == shown[::2]
    more = {"start": 0.0, "stop": 2.0}
    assert taken(content, 4, more=more) == [shown[2], shown[7], shown[12], shown[17]]


def test_segments_are_seconds() -> None:
    """Also where they are integers; a null is the beginning, or the end."""
    for start, stop, expected in (
        (1, 3, [15, 25]), (0.5, 0.9, [6, 8]), (None, 1.0, [2, 7]), (3.0, None, [32, 37]),
        (None, None, [10, 30]),
    ):  # fmt: skip
        more = {"start": [start, 0.0], "stop": [stop, 4.0]}
        found = read(dataset([encoded()] * 2, 2, more=more))[0]
        assert [number_of(frame) for frame in found] == expected
    assert taken(encoded(), 9, rate=10, more={"start": 0.5, "stop": 0.9}) == [5, 6, 7, 8, 0, 0, 0, 0, 0]
    table = {"start": 2.0, "from": 3.0}
    assert taken(encoded(), 1, more=table, start=None) == [20]
    assert taken(encoded(), 1, more=table, start="from") == [35]


@pytest.mark.parametrize(
    ("start", "stop", "message"),
    [
        (3.0, 4.1, "ends after 4 s, where 3 to 4.1 s are to be read."),
        (4.0, None, "ends after 4 s, where 4 to 4 s are to be read."),
        (2.0, 1.0, "is to be read from 2 to 1."),
        (-1.0, None, "is to be read from -1 to the end."),
    ],
)
def test_a_segment_beyond_its_file_is_told(start: Any, stop: Any, message: str) -> None:
    """With where the file ends, and what was asked for."""
    more = {"start": [start]} if stop is None else {"start": [start], "stop": [stop]}
    assert refused(encoded(), more=more) == f"{message} {CORRECT}"


def test_sound_and_a_cover_make_no_difference() -> None:
    """The film is found among other streams."""
    assert taken(encoded(sound=True), 4) == [5, 15, 25, 35]


# Pixels ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turned", [90, 180, 270, -90])
def test_frames_are_set_upright(turned: int) -> None:
    """By quarters, counter-clockwise, as the file says; they are resized before, which is cheaper."""
    content = encoded(turned=turned)
    # Not those of another file: the encoder does not always write the same one.
    plain = decoded(content)[20]
    size = (WIDTH, HEIGHT) if turned % 180 else (HEIGHT, WIDTH)
    found = read(dataset([content], 1, size))[0, 0]
    np.testing.assert_array_equal(found, np.rot90(plain, turned // 90))


def test_frames_are_resized_as_images_are() -> None:
    """Without skipping pixels."""
    found = read(dataset([encoded()], 1, (16, 24)))[0, 0]
    expected = cv2.resize(decoded(encoded())[20], (24, 16), interpolation=cv2.INTER_AREA)
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert read(dataset([encoded()], 1, 16)).shape == (1, 1, 16, 16, 3)


# Where it lies ---------------------------------------------------------------------------------------


def test_files_parts_of_files_and_large_files_are_read_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the bytes of a table, in a folder, in an archive, and where it is not read as a whole."""
    expected = read(dataset([encoded()]))
    (tmp_path / "x.mkv").write_bytes(encoded())
    (tmp_path / "x.tar").write_bytes(bytes(512) + encoded())
    names = [str(tmp_path / "x.mkv"), f"{tmp_path}/x.tar::x.mp4@512+{len(encoded())}"]
    for whole_bytes in (2**26, 0):
        monkeypatch.setattr("multifeed.fields.contents._WHOLE_BYTES", whole_bytes)
        for name in names:
            assert read(dataset([name])).tobytes() == expected.tobytes()


def elsewhere(content: bytes, path: str) -> bytes:
    """Return a MOV whose track says, by an alias as of Mac OS, that its frames lie in another file."""
    name, place = path.rpartition("/")[2].encode(), content.index(b"dref") - 4
    where = b"disk:" + path.lstrip("/").replace("/", ":").encode()
    record = bytes(10) + b"\x04" + b"disk".ljust(27, b"\0") + bytes(12)
    record += (
        bytes([len(name)]) + name.ljust(63, b"\0") + bytes(16) + struct.pack(">HH", 1, 1) + bytes(16)
    )
    record += struct.pack(">HH", 2, len(where)) + where + bytes(len(where) % 2)
    record += struct.pack(">HH", 0xFFFF, 0)
    # In place of a reference (url, flag 1) to this very file.
    assert content[place + 16 : place + 28] == struct.pack(">I4sI", 12, b"url ", 1)
    alias = struct.pack(">I4sI", 12 + len(record), b"alis", 0) + record
    changed = bytearray(content[: place + 16] + alias + content[place + 28 :])
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        start = changed.rindex(kind, 0, place + 8) - 4
        (size,) = struct.unpack_from(">I", changed, start)
        struct.pack_into(">I", changed, start, size + len(alias) - 12)
    return bytes(changed)


def test_no_other_file_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by a playlist, nor by a track of a MOV that lies elsewhere; FFmpeg could."""
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "other.mov"
    other.write_bytes(encoded("mov"))
    playlist = f"#EXTM3U\n#EXTINF:9,\n{other}\n#EXT-X-ENDLIST\n".encode()
    assert refused(playlist).startswith("is no MP4 or WebM file, or damaged at its start")
    content = elsewhere(encoded("mov"), str(other))
    assert refused(content) == f"has no frame that can be decoded. {REPLACE}"
    (tmp_path / "lying.mov").write_bytes(content)
    with pytest.raises(mf.SampleError, match="has no frame that can be decoded"):
        read(dataset([str(tmp_path / "lying.mov")]))
    asked: list[str] = []

    def note(url: str, flags: int, options: Any) -> Any:
        asked.append(url)
        raise FileNotFoundError

    with pytest.raises(FileNotFoundError):
        av.open(io.BytesIO(content), options={"enable_drefs": "1"}, io_open=note)
    assert asked == ["other.mov"]
    # By its descriptor, FFmpeg asks nobody; nor does it know how to open another one.
    for known, frames in (("fd", 0), ("fd,file", 40)):
        with (tmp_path / "lying.mov").open("rb") as file:
            options = {"fd": str(file.fileno()), "protocol_whitelist": known}
            options |= {"enable_drefs": "1", "use_absolute_path": "1"}
            with av.open("fd:", format="mov", options=options) as film:
                assert len(list(film.decode(video=0))) == frames


# Files that are none ---------------------------------------------------------------------------------


@pytest.mark.parametrize("coding", ["H.264", "H.264, fragments", "H.264, index first", "VP8"])
def test_a_video_that_is_cut_is_an_error_wherever_it_ends(coding: str) -> None:
    """FFmpeg would take some for what is left of them."""
    content = encoded(**CODINGS[coding])
    for share in range(1, 100, 7):
        said = refused(content[: len(content) * share // 100], frames=1)
        assert said.startswith("is ")
    first = content[: len(content) - 1]
    if coding == "VP8":
        told = (
            f"is truncated: it has {len(first):,} of the {len(content):,} bytes that its header claims"
        )
        assert refused(first) == f"{told}. {REPLACE}"
    else:
        assert refused(first).startswith("is truncated, or damaged: its box ")


@pytest.mark.parametrize("coding", [each for each in CODINGS if each != "VP8"])
def test_damage_is_told_where_it_is_read(coding: str) -> None:
    """A run of noise within the frames; of VP8, which has no checks at all, it gives other frames."""
    content = bytearray(encoded(**CODINGS[coding]))
    random = np.random.default_rng(0)
    outcomes = []
    for place in range(len(content) // 3, len(content) * 2 // 3, len(content) // 30):
        damaged = content.copy()
        damaged[place : place + 40] = random.bytes(40)
        try:
            outcomes.append(read(dataset([bytes(damaged)], 8)).shape)
        except mf.SampleError as error:
            outcomes.append(error.reason)
    assert any(isinstance(each, str) for each in outcomes), outcomes


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"RIFF\0\0\0\0AVI " + bytes(100),
            "is no MP4 or WebM file, or damaged at its start (b'RIFF\\x00\\x00\\x00\\x00'). Convert the "
            "file, or leave the row out with data.select.",
        ),
        (
            encoded("avi", "mpeg4")[:0] + b"\0\0\0\x18ftypmp42",
            f"is truncated, or damaged: its box b'ftyp' at byte 0 ends at byte 24, beyond 12. {REPLACE}",
        ),
        (
            b"\0\0\0\x10ftypmp42\0\0\0\0",
            f"is a damaged video (Invalid data found when processing input). {REPLACE}",
        ),
        (
            b"\0\0\0\x10ftypmp42\0\0\0\0" + struct.pack(">I4sQ", 1, b"free", 8),
            f"is a damaged MP4 (in its box b'free' at byte 16). {REPLACE}",
        ),
    ],
)  # fmt: skip
def test_what_is_no_video_is_told(content: bytes, message: str) -> None:
    """By its first bytes, or by the first box that cannot be."""
    assert refused(content) == message


def test_a_file_without_a_film_is_told() -> None:
    """One with sound alone, and one that is coded in a way that is not read."""
    stream = io.BytesIO()
    with av.open(stream, "w", format="mp4") as opened:
        add_sound(opened, 1.0)
    assert refused(stream.getvalue()) == (
        "has no video, only audio. Leave the row out with data.select."
    )
    assert refused(encoded("matroska", "mpeg2video", 2)) == (
        "has video coded as mpeg2video, which is not read. Convert it to H.264, HEVC, VP8, VP9 or AV1."
    )


def test_a_film_that_does_not_say_how_long_it_is_is_told() -> None:
    """As browsers record it."""
    content = encoded("webm", "libvpx", 5, writing=(("live", "1"),))
    assert refused(content) == (
        "does not say how long it is. Write it again, e.g. with ffmpeg -i OLD -c copy NEW."
    )


def test_more_pixels_than_the_limit_are_refused() -> None:
    """By what the file claims."""
    assert refused(encoded(), max_pixels=HEIGHT * WIDTH - 1) == (
        "claims too many pixels (64 x 96 where 6,143 in all are the limit). Shrink the video, leave the "
        "row out with data.select, or pass a larger max_pixels."
    )
    assert read(dataset([encoded()], max_pixels=HEIGHT * WIDTH)).any()


# Declaration -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames": 0}, "frames must be a whole number of at least 1; received 0."),
        ({"size": (0, 8)}, "size is (height, width) in pixels, each at least 1; received (0, 8)."),
        ({"rate": 0}, "rate is frames a second, a number above 0; received 0."),
        ({"rate": "30"}, "rate is frames a second, a number above 0; received '30'."),
        ({"max_pixels": 0}, "max_pixels must be a whole number of at least 1; received 0."),
        (
            {"more": {"start": ["1:30"]}},
            "the columns start and stop hold numbers; 'start' holds string.\n"
            "  Pass start=None and stop=None if it does not say which part of a file is meant.",
        ),
        (
            {"value": 1.5},
            "mf.Video reads a column of file names or encoded videos; 'film' holds double.\n"
            "  Declare arrays that are decoded already as mf.Array('film').",
        ),
    ],
)
def test_what_cannot_be_is_told(options: dict[str, Any], message: str) -> None:
    """Where it is declared."""
    assert undeclared(**options) == message


def test_geometry_of_images_is_refused() -> None:
    """That of volumes is the right one."""
    with pytest.raises(mf.DeclarationError, match="Volumes are moved by mf.RandomAffine3D"):
        mf.Feed(dataset([encoded()]), 1, augment=mf.RandomFlip("x"))


def test_geometry_of_volumes_moves_all_frames_alike() -> None:
    """A video is a volume whose depth is time."""
    data = dataset([encoded(frames=1)] * 8, 3, 32)
    plain = read(data)
    augment = [mf.RandomAffine3D("x", rotation=(20, 0, 0), shift=(0, 0.1, 0.1))]
    with mf.Feed(data, 8, augment=augment) as feed:
        ((batch,),) = (feed.batch(0, 0),)
    moved = batch["x"]
    assert (moved == moved[:, :1]).all()
    assert all((one != other).any() for one, other in zip(moved, plain, strict=True))
    with mf.Feed(data, 8, augment=mf.RandomFlip3D("x", along="width")) as feed:
        ((batch,),) = (feed.batch(0, 0),)
    mirrored = [(batch["x"][row] == plain[row][:, :, ::-1]).all() for row in range(8)]
    kept = [(batch["x"][row] == plain[row]).all() for row in range(8)]
    assert sum(mirrored) + sum(kept) == 8
    assert 0 < sum(kept) < 8


def test_a_function_augments_all_frames_alike() -> None:
    """By a draw for each sample."""

    def flip(frames: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        return frames[:, :, ::-1] if generator.random() < 0.5 else frames

    data = dataset([encoded()] * 8, 2, 16)
    plain = read(data)
    with mf.Feed(data, 8, augment=mf.RandomFunction("x", flip)) as feed:
        ((batch,),) = (feed.batch(0, 0),)
    kept = [(batch["x"][row] == plain[row]).all() for row in range(8)]
    mirrored = [(batch["x"][row] == plain[row][:, :, ::-1]).all() for row in range(8)]
    assert sum(kept) + sum(mirrored) == 8
    assert 0 < sum(kept) < 8


def test_check_describes_videos() -> None:
    """A size that few have stands out."""
    contents = [encoded(frames=5), encoded(frames=6), encoded(frames=7)] * 2
    stream = io.BytesIO()
    with av.open(stream, "w", format="mp4") as opened:
        video = opened.add_stream("libx264", rate=10)
        video.height, video.width, video.pix_fmt = 32, 48, "yuv420p"
        for number in range(5):
            picture = np.ascontiguousarray(drawn(number)[::2, ::2])
            opened.mux(video.encode(av.VideoFrame.from_ndarray(picture)))
        opened.mux(video.encode())
    found = mf.check(dataset([*contents, stream.getvalue()], 2, 16)).findings.to_pylist()
    unusual = [(each["kind"], each["row"], each["detail"]) for each in found if "size" in each["kind"]]
    assert unusual == [("unusual size", 6, "is 32 x 48, where 6 of 7 are 64 x 96")]
