"""Samples that are unlike the others, values that are none, and datasets of odd sizes.

Also in tests/test_align.py, tests/fields/, tests/test_health.py.
"""

from __future__ import annotations

from harness import run


def test_counts_and_keys_that_do_not_match_are_found_before_epoch_1() -> None:
    """Row 29: N against N - 1 files, swapped, repeated and missing keys: joined, or told with keys."""
    run(
        """
    import os
    import numpy as np
    from PIL import Image
    import multifeed as mf
    from harness import injected

    folder = os.getcwd()
    for side in ("left", "right"):
        os.mkdir(f"{folder}/{side}")
        for row in range(50):
            Image.fromarray(np.full((8, 8, 3), row, np.uint8)).save(f"{folder}/{side}/s{row}.png")
    keys = [f"s{row}" for row in range(50)]
    labels = list(range(50))
    sources = dict(left=f"{folder}/left/{{id}}.png", right=f"{folder}/right/{{id}}.png")

    def refused(table, *parts):
        try:
            mf.align("id", **sources, table=table)
        except mf.AlignError as error:
            assert all(part in str(error) for part in parts), error
        else:
            raise AssertionError("no error")

    # In any order: rows are joined by key.
    swapped = {"id": keys[::-1], "label": labels[::-1]}
    injected("swapped")
    data = mf.Dataset(
        mf.align("id", **sources, table=swapped), key="id",
        inputs={"left": mf.Image("left", 8), "right": mf.Image("right", 8)}, targets=mf.Array("label"),
    )
    for inputs, label in mf.Feed(data, 7, shuffle=True):
        assert (inputs["left"][:, 0, 0, 0] == label).all()
        assert (inputs["right"][:, 0, 0, 0] == label).all()
    injected("repeated")
    refused({"id": keys[:-1] + ["s3"], "label": labels}, "'s3'")
    injected("unknown")
    refused({"id": keys + ["s99"], "label": labels + [99]}, "'s99'")
    injected("N - 1 files")
    os.remove(f"{folder}/right/s17.png")
    refused({"id": keys, "label": labels}, "'right' lacks 1 of 50 keys", "'s17'")
    """
    )


def test_images_of_another_kind_are_converted_or_named() -> None:
    """Row 30: among 600 RGB images, grey, RGBA, 16-bit, CMYK, palette and EXIF-rotated ones.

    Each becomes what the rule for it says; one of 32 bits is an error that names it.
    """
    run(
        """
    import io
    import numpy as np
    from PIL import Image
    import multifeed as mf
    from harness import injected

    def encoded(image, kind="PNG", **options):
        stream = io.BytesIO()
        image.save(stream, kind, **options)
        return stream.getvalue()

    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    plain = Image.fromarray(pixels)
    grey, cmyk = plain.convert("L"), plain.convert("CMYK")
    alpha = plain.copy()
    alpha.putalpha(128)
    turned = Image.Exif()
    turned[0x0112] = 6
    palette = plain.quantize(16)
    deep = np.asarray(grey).astype(np.uint16) * 257
    odd = {
        500: (encoded(grey), np.repeat(np.asarray(grey)[:, :, None], 3, 2)),
        501: (encoded(alpha), pixels),
        502: (encoded(Image.fromarray(deep)), np.repeat((deep >> 8).astype(np.uint8)[:, :, None], 3, 2)),
        503: (encoded(cmyk, "TIFF"), np.asarray(cmyk.convert("RGB"))),
        504: (encoded(plain, exif=turned), np.rot90(pixels, -1)),
        505: (encoded(palette), np.asarray(palette.convert("RGB"))),
    }
    files = [encoded(plain)] * 600
    for row, (content, _) in odd.items():
        files[row] = content
        injected(f"sample {row}")
    keys = [f"s{row}" for row in range(600)]

    def feed_of(files):
        data = mf.Dataset({"id": keys, "image": files}, key="id", inputs=mf.Image("image", 16))
        return mf.Feed(data, 50, workers=2)

    with feed_of(files) as feed:
        for step, (batch,) in enumerate(feed):
            for place, row in enumerate(feed.rows(0, step).tolist()):
                expected = odd[row][1] if row in odd else pixels
                assert np.array_equal(batch[place], expected), row
    files[507] = encoded(Image.fromarray(np.ones((16, 16), np.float32)), "TIFF")
    injected("sample 507")
    with feed_of(files) as feed:
        served = []
        for step in range(12):
            try:
                feed.take(0, step)
                served.append(step)
            except mf.SampleError as error:
                assert (error.key, error.row, error.field) == ("s507", 507, "image"), error
                assert "32-bit" in str(error), error
    assert served == [step for step in range(12) if step != 10]
    """
    )


def test_values_that_are_none_are_counted_refused_or_filled() -> None:
    """Row 31: NaN, infinity, empty text, text that is no UTF-8, an unseen and a missing label.

    `mf.check` counts each; reading names the row; and what a declaration allows for is filled.
    """
    run(
        """
    import numpy as np
    import pyarrow as pa
    import multifeed as mf
    from harness import injected

    count = 40
    numbers = np.linspace(0, 1, count)
    numbers[[3, 4]] = np.nan
    numbers[5] = np.inf
    texts = [b"no fever"] * count
    texts[7], texts[8], texts[9] = b"", b"\\xff\\xfe", b"  "
    kinds = ["a", "b"] * (count // 2)
    kinds[11], kinds[12], kinds[13] = "c", None, ""
    rows = pa.table({
        "id": [f"s{row}" for row in range(count)],
        "number": numbers,
        # As a file may have it: Arrow does not look whether it is UTF-8.
        "text": pa.Array.from_buffers(pa.string(), count, pa.array(texts, pa.binary()).buffers()),
        "kind": kinds,
    })
    injected("NaN, infinity, empty text, bad UTF-8, unseen, missing and empty labels")

    def declared(field):
        return mf.Dataset(rows, key="id", inputs=field)

    def refused(field, key, part):
        try:
            data = declared(field)
            data.plan()
            data[int(key[1:])]
        except mf.SampleError as error:
            assert error.key == key and part in str(error), error
        else:
            raise AssertionError("no error")

    words = mf.Text("text", 4, tokenizer=None)
    number = mf.Numeric("number")
    kind = mf.Category("kind", vocabulary=["a", "b"])
    refused(number, "s3", "(3 such rows)")
    refused(kind, "s12", "is null")
    refused(mf.Category("kind", vocabulary=["a", "b"], missing="a"), "s11", "'c'")
    given = mf.Dataset({"t": ["no fever"]}, inputs=mf.Text("t", 4))
    given.adapt()

    report = mf.check(declared({"number": number, "kind": kind}))
    assert report.rows("not finite").tolist() == [3, 4, 5]
    assert report.rows("null").tolist() == [12]
    assert report.rows("unseen label").tolist() == [11, 13]
    assert report.bad_rows.tolist() == [3, 4, 5, 11, 12, 13]

    good = [row for row in range(count) if row != 8]
    text = mf.Dataset(rows.take(good), key="id", inputs=words)
    text.adapt()
    assert mf.check(text).rows("empty text").tolist() == [7, 8]
    assert text[7][0].tolist() == [0, 0, 0, 0]
    whole = declared(words)
    try:
        whole.adapt()
    except mf.SampleError as error:
        assert error.key == "s8" and "is no text in UTF-8" in str(error), error
    else:
        raise AssertionError("no error")

    filled = declared({
        "number": mf.Numeric("number", missing="zero"),
        "kind": mf.Category("kind", vocabulary=["a", "b"], missing="a", oov=True),
        "known": mf.Present("number"),
    })
    (batch,) = mf.Feed(filled, count).batch(0, 0)
    assert np.isfinite(batch["number"]).all()
    assert batch["kind"][[11, 12, 13]].tolist() == [0, 1, 0]
    assert np.flatnonzero(batch["known"].ravel() == 0).tolist() == [3, 4, 5]
    """
    )


def test_odd_sizes_are_the_same_for_any_workers() -> None:
    """Row 33: 0 samples are refused; 1, N below the batch, and a remainder come whole, whoever reads."""
    run(
        """
    import numpy as np
    import multifeed as mf
    from harness import injected

    try:
        mf.Dataset({"x": np.zeros((0, 1))}, inputs=mf.Array("x"))
    except mf.DeclarationError as error:
        assert str(error) == "a dataset has at least one sample; this row table has 0 rows."
    else:
        raise AssertionError("no error")
    injected("0 samples")
    threads = [dict(workers=1), dict(workers=4)]
    processes = [dict(processes=1), dict(processes=2, workers=2)]
    for count in (1, 2, 7):
        data = mf.Dataset({"x": np.arange(1.0 * count)}, inputs=mf.Array("x", preprocess=np.sqrt))
        for size in (1, 2, 4, 100):
            injected(f"{count} samples in batches of {size}")
            for remainder in ("keep", "drop", "pad"):
                if remainder == "drop" and count < size:
                    continue
                streams = []
                # A start of processes takes half a second.
                for options in threads + processes * (size == 4 and remainder == "keep"):
                    feed = mf.Feed(data, size, shuffle=True, remainder=remainder, **options)
                    with feed:
                        streams.append([batch[0].tolist() for _ in range(2) for batch in feed])
                assert all(stream == streams[0] for stream in streams)
                kept = count // size * size if remainder == "drop" else count
                assert len(streams[0]) == 2 * -(-kept // size)
                if remainder == "keep":
                    expected = np.sqrt(np.arange(count)).astype("f").tolist()
                    assert sorted(sum(streams[0], [])) == sorted(2 * expected)
    """,
        limit_s=110,
    )
