"""Row 21 of the table of faults: a web server, or an object store, that is busy, slow, or breaks off.

Oracle: the bytes of the file, or after a bounded time an error that names field, key, row, URI and
cause; what has come is not asked for again.
"""

from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
import pytest
from harness import run
from servers import Web

import multifeed as mf
from multifeed.errors import BadValue, SampleError
from multifeed.folder import Folder
from multifeed.remote import fetch
from multifeed.remote.stores import store_of

pytestmark = pytest.mark.timeout(60)
RETRY = "Look whether the server is reachable and how busy it is; what was read so far is not lost."


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """All waits are short."""
    monkeypatch.setattr(fetch, "IDLE_S", 0.5)
    monkeypatch.setattr(fetch, "TOTAL_S", 3.0)
    monkeypatch.setattr(fetch, "_FIRST_WAIT_S", 0.005)
    monkeypatch.setattr(fetch, "_MOST_WAIT_S", 0.05)


@pytest.fixture(params=["http", "s3"])
def store(
    request: pytest.FixtureRequest, web: Web, quick: None, monkeypatch: pytest.MonkeyPatch
) -> tuple[Web, str]:
    """A web server, and the URI of its folder ``/b``: its own, or that of a bucket."""
    if request.param == "http":
        return web, f"{web.url}/b"
    for name, value in {
        "AWS_ENDPOINT_URL": web.url,
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    store_of.cache_clear()
    last_modified = {"Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}
    web.headers = {f"/b/{name}": last_modified for name in ("x", "x.npy")}
    return web, "s3://b"


@pytest.mark.parametrize(
    "faults",
    [[429], [503, 503, 500], [502, 504, 408], ["reset"], ["short"], ["reset", "short", 503, "reset"],
     ["hangs"]],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("size", [1_000, 5_000_000])
def test_what_may_pass_is_tried_again(store: tuple[Web, str], faults: list[object], size: int) -> None:
    """Row 21: all bytes come, and the server is asked once more for each fault."""
    web, uri = store
    web.files["/b/x"] = np.random.default_rng(size).bytes(size)
    web.faults["/b/x"] = list(faults)
    assert Folder(uri, True).read("x") == web.files["/b/x"]
    assert len(web.asked) == len(faults) + 1


def test_what_broke_off_goes_on_where_it_did(store: tuple[Web, str]) -> None:
    """Row 21: each try asks for what is lacking, and the pieces fit."""
    web, uri = store
    web.files["/b/x"] = np.random.default_rng(0).bytes(20_000_000)
    web.faults["/b/x"] = ["reset", "short", "reset"]
    assert Folder(uri, True).read("x") == web.files["/b/x"]
    starts = [int(asked.removeprefix("bytes=").partition("-")[0] or 0) for _, asked in web.asked]
    assert starts == sorted(starts)
    # Half of what is lacking comes each time, but for what had not been read when it broke off.
    assert starts[-1] > 10_000_000


def test_a_file_that_changes_between_two_tries_is_read_anew(store: tuple[Web, str]) -> None:
    """Row 21: never the beginning of one version and the end of another."""
    web, uri = store
    old, new = bytes(6_000_000), b"x" * 6_000_000
    web.files["/b/x"] = new
    web.faults["/b/x"] = ["short"]
    web.headers["/b/x"] = {"ETag": '"old"', **web.headers.get("/b/x", {})}

    class Changing(dict[str, str]):
        """The first answer is of the old version."""

    answers = [old, new, new]
    web.files = type("Files", (dict,), {"__getitem__": lambda self, path: answers.pop(0)})(web.files)
    headers = [{"ETag": '"old"'}, {"ETag": '"new"'}, {"ETag": '"new"'}]
    more = {"Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}
    web.headers = type("Headers", (dict,), {"get": lambda self, *_: {**more, **headers.pop(0)}})()
    assert Folder(uri, True).read("x") == new


@pytest.mark.parametrize(
    ("fault", "reason"),
    [(503, "cannot be had (HTTP 503)"), ("hangs", "sends nothing for 0.5 seconds")],
)
def test_what_does_not_pass_is_an_error_in_time(
    store: tuple[Web, str], fault: object, reason: str
) -> None:
    """Row 21: with field, key, row, URI and cause, and how often it was tried."""
    web, uri = store
    web.files["/b/x.npy"] = b"x"
    web.faults["/b/x.npy"] = [fault] * 1_000
    data = mf.Dataset({"id": ["p"], "x": ["x.npy"]}, key="id", inputs=mf.Array("x", (2,)), root=uri)
    begun = time.monotonic()
    with pytest.raises(SampleError) as caught:
        data[0]
    assert time.monotonic() - begun < 8
    error = caught.value
    assert (error.field, error.key, error.row, error.file) == ("x", "p", 0, f"{uri}/x.npy")
    first, second, last = (line.strip() for line in str(error).split("\n"))
    assert first.startswith(f"'x' of sample 'p' cannot be used: the file {reason} (")
    assert first.endswith(" s).")
    assert " tries in " in first
    assert (second, last) == (f"File: {uri}/x.npy (row 0).", RETRY)


@pytest.mark.parametrize("fault", ["drips", "longer"])
def test_a_server_that_never_comes_to_an_end_is_an_error_in_time(
    web: Web, quick: None, fault: str
) -> None:
    """Row 21: though a byte comes now and then, or is only claimed."""
    web.files["/x"] = bytes(1_000)
    web.faults["/x"] = [fault] * 1_000
    begun = time.monotonic()
    with pytest.raises(BadValue, match=r"comes too slowly|broke off|HTTP 416"):
        Folder(web.url, True).read("x")
    assert time.monotonic() - begun < 8


def test_what_cannot_pass_is_not_tried_again(store: tuple[Web, str]) -> None:
    """Row 21: a file that is not there, or may not be read."""
    web, uri = store
    web.faults["/b/x"] = [403]
    for reason in ("may not be read", "does not exist"):
        with pytest.raises(BadValue, match=reason):
            Folder(uri, True).read("x")
    assert len(web.asked) == 2


def test_a_server_that_is_not_there_is_told(web: Web, quick: None) -> None:
    """Row 21: its name, or its port."""
    with pytest.raises(BadValue, match="is on a host whose name cannot be resolved") as caught:
        Folder("http://no-such-host.invalid", True).read("x")
    assert caught.value.remedy == "Correct the name of the host, or look at the DNS of this machine."
    url = web.url
    web.close()
    with pytest.raises(BadValue, match=r"cannot be fetched \("):
        Folder(url, True).read("x")


def test_a_server_says_when_to_come_again(web: Web, quick: None) -> None:
    """Row 21: it is left alone for so long."""
    web.files["/x"] = b"abc"
    web.faults["/x"] = [429]
    web.headers["/x"] = {"Retry-After": "1"}
    begun = time.monotonic()
    assert Folder(web.url, True).read("x") == b"abc"
    assert time.monotonic() - begun >= 1


@pytest.mark.parametrize("processes", [0, 1])
def test_an_epoch_from_a_bad_server_is_that_of_a_good_one(
    web: Web, tmp_path: Path, processes: int
) -> None:
    """Row 21: the same bytes; and a sample that cannot be had is left out, as any other."""
    for number in range(40):
        stream = io.BytesIO()
        np.save(stream, np.full(2, number, np.float32))
        web.files[f"/{number}.npy"] = stream.getvalue()
        web.faults[f"/{number}.npy"] = [503] if number % 5 == 0 else ["reset"] if number % 7 == 0 else []
    del web.files["/13.npy"]
    run(f"""
        import numpy as np
        import multifeed as mf
        from harness import injected

        data = mf.Dataset({{"x": [f"{{number}}.npy" for number in range(40)]}},
                          inputs=mf.Array("x", (2,)), root={web.url!r})
        with mf.Feed(data, 4, shuffle=True, seed=1, processes={processes},
                     on_error="drop", max_bad=1) as feed:
            found = np.concatenate([batch[0] for batch in feed])
            rows = np.concatenate([feed.rows(0, step) for step in range(len(feed))])
            (bad,) = feed.report().bad
        assert found[:, 0].tolist() == [row for row in rows if row != 13] and len(found) == 39
        assert bad.row == 13 and bad.file == {web.url + "/13.npy"!r}, bad
        injected("faults")
    """)
