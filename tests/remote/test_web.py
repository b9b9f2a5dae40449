"""Files of a web server: what fields, tables and `root` read by their URLs is what lies there."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from servers import Web

import multifeed as mf
from multifeed import files
from multifeed.errors import BadValue, DeclarationError, SampleError
from multifeed.folder import Folder
from multifeed.remote import fetch

REPLACE = "Replace the file, or leave the row out with data.select."
TRUST = (
    "File names from a table file stay under its folder: pass root= to mf.Dataset to move that folder, "
    "or allow_outside=True if you trust the table."
)


def npy(value: float, count: int = 2) -> bytes:
    """Return a file of an array of one value."""
    stream = io.BytesIO()
    np.save(stream, np.full(count, value, np.float32))
    return stream.getvalue()


@pytest.fixture
def store(web: Web) -> Web:
    """A web server with three arrays, an archive, and tables that name them."""
    stream = io.BytesIO()
    np.savez(stream, x=np.full(2, 7, np.float32))
    web.files |= {f"/d/{number}.npy": npy(number) for number in range(3)}
    web.files["/d/x.npz"] = stream.getvalue()
    web.files["/d/t.csv"] = b"id,x\n" + b"".join(b"p%d,%d.npy\n" % (n, n) for n in range(3))
    web.files["/secret.npy"] = npy(99)
    return web


def read(names: list[str] | str, **options: object) -> list[float]:
    """Return the first value of each array that a column, or a table file, names."""
    rows = names if isinstance(names, str) else {"x": names}
    data = mf.Dataset(rows, inputs={"x": mf.Array("x", (2,))}, **options)
    return [data[row][0]["x"][0].item() for row in range(len(data))]


def test_names_may_be_urls_of_any_kind(store: Web, tmp_path: Path) -> None:
    """In memory, from a table there, below a root, of a member of an archive, of this machine."""
    (tmp_path / "here.npy").write_bytes(npy(5))
    url = store.url
    assert read([f"{url}/d/1.npy", (tmp_path / "here.npy").as_uri(), f"{url}/d/x.npz::x"]) == [1, 5, 7]
    assert read(f"{url}/d/t.csv") == [0, 1, 2]
    assert read(["2.npy", "./0.npy"], root=f"{url}/d/") == [2, 0]
    assert read(["d/2.npy", f"{url}/d/0.npy"], root=url) == [2, 0]
    assert read([str(tmp_path / "here.npy")], root=f"{url}/d", allow_outside=True) == [5]


def test_a_table_is_joined_from_anywhere(store: Web) -> None:
    """As a source of align and as a lookup; its file names start where it lies."""
    rows = mf.align(
        "id",
        scans=f"{store.url}/d/t.csv",
        more=mf.lookup({"id": ["p0", "p1", "p2"], "age": [1, 2, 3]}, on="id"),
    )
    data = mf.Dataset(rows, key="id", inputs={"x": mf.Array("x", (2,)), "age": mf.Numeric("age")})
    assert data[2][0]["x"].tolist() == [2, 2]


def test_part_of_a_file_is_a_request_of_that_part(store: Web) -> None:
    """Opening brings the beginning; what lies behind comes by ranges; parts by their own."""
    data = np.random.default_rng(0).bytes(300_000)
    store.files["/big"] = data
    folder = Folder(store.url, True)
    with folder.open("big") as file:
        assert file.size == len(data)
        assert file.path is None
        assert file.read(10, 20) == data[10:30]
        assert file.read(200_000, 5) == data[200_000:200_005]
        stream = file.stream()
        stream.seek(-7, io.SEEK_END)
        assert stream.read() == data[-7:]
    assert store.asked == [
        ("/big", "bytes=0-65535"),
        ("/big", "bytes=200000-200004"),
        ("/big", f"bytes={4 * 2**16}-{len(data) - 1}"),
    ]
    assert folder.read("big::member@1000+50") == data[1000:1050]
    with folder.open("big::member@1000+50") as part:
        assert (part.size, part.read(10, 5)) == (50, data[1010:1015])
    assert folder.read("big") == data
    asked = len(store.asked)
    assert folder.stamp("big") == folder.stamp("big")
    assert len(store.asked) == asked


def test_a_part_that_is_not_there_is_an_error(store: Web) -> None:
    """An index that is older than its file; and what no file can hold."""
    folder = Folder(store.url, True)
    size = len(store.files["/d/0.npy"])
    with pytest.raises(
        BadValue, match=f"ends after {size:,} bytes, where a part of it reaches to 10,004"
    ):
        folder.read("d/0.npy::x@5+9999")
    with pytest.raises(BadValue, match=r"has 9,999,999,999 bytes"):
        folder.open("d/0.npy::x@0+9999999999").read()
    with pytest.raises(BadValue, match=r"is empty, or has shrunk \(HTTP 416\)"):
        folder.read("d/0.npy::x@500000+5")


def test_a_server_that_knows_no_parts_is_read_all_the_same(store: Web) -> None:
    """It sends all: once, and not for each part."""
    data = np.random.default_rng(0).bytes(200_000)
    store.files["/big"] = data
    store.faults["/big"] = ["whole"] * 3
    with Folder(store.url, True).open("big") as file:
        assert file.read(150_000, 5) == data[150_000:150_005]
        assert file.read() == data
    assert len(store.asked) == 2


def test_a_file_that_changes_while_it_is_read_is_noticed(store: Web) -> None:
    """By what the server says of its version."""
    store.files["/big"] = bytes(200_000)
    with Folder(store.url, True).open("big") as file:
        store.files["/big"] = b"x" * 200_000
        with pytest.raises(BadValue, match="has changed while it was read"):
            file.read(100_000, 5)


def test_a_url_that_is_signed_is_sent_as_it_is(store: Web) -> None:
    """And its signature is in no message."""
    query = "?X-Amz-Signature=a%2Fb%20c&d=e+f"
    assert read([f"{store.url}/d/1.npy{query}"]) == [1]
    assert store.asked[-1][0] == f"/d/1.npy{query}"
    host = store.url.removeprefix("http://")
    data = mf.Dataset({"x": [f"http://me:word@{host}/none{query}"]}, inputs=mf.Array("x", (2,)))
    with pytest.raises(SampleError) as caught:
        data[0]
    assert caught.value.file == f"http://{host}/none"
    assert str(caught.value) == (
        "'x' of row 0 cannot be used: the file does not exist (HTTP 404).\n"
        f"  File: http://{host}/none (row 0).\n  {REPLACE}"
    )


@pytest.mark.parametrize(
    "name", ["../secret.npy", "/secret.npy", "{url}/secret.npy", "{url}/d/%2e%2e/secret.npy",
             "http://127.0.0.1:9/x.npy", "s3://bucket/x.npy", "file:///etc/passwd"]
)  # fmt: skip
def test_names_from_a_table_far_away_stay_under_it(store: Web, name: str) -> None:
    """Row 28 as well: nothing else is asked for, neither there nor here, unless it is trusted."""
    store.files["/d/t.csv"] = f"x\n{name.format(url=store.url)}\n".encode()
    with pytest.raises(SampleError) as caught:
        read(f"{store.url}/d/t.csv")
    assert [path for path, _ in store.asked] == ["/d/t.csv"]
    first, _, last = (line.strip() for line in str(caught.value).split("\n"))
    reason = f"the file leads out of the folder of its table, '{store.url}/d'"
    assert first == f"'x' of row 0 cannot be used: {reason}."
    assert last == TRUST


def test_a_url_in_a_table_of_this_machine_is_refused(store: Web, tmp_path: Path) -> None:
    """Whoever has written the table cannot make this machine ask others, unless it is trusted."""
    (tmp_path / "t.csv").write_text(f"x\n{store.url}/d/1.npy\n")
    with pytest.raises(SampleError, match="leads out of the folder of its table"):
        read(str(tmp_path / "t.csv"))
    assert store.asked == []
    assert read(str(tmp_path / "t.csv"), allow_outside=True) == [1]


def test_redirections_from_a_table_stay_on_their_host(store: Web, tmp_path: Path) -> None:
    """What the program itself names may be elsewhere; what a table names may not."""
    other = store.url.replace("127.0.0.1", "localhost")
    store.files["/d/r.npy"] = npy(4)
    store.files["/d/t.csv"] = b"x\nr.npy\n"
    store.faults["/d/r.npy"] = [f"{other}/d/1.npy"]
    assert read([f"{store.url}/d/r.npy"]) == [1]
    store.faults["/d/r.npy"] = ["/d/2.npy"]
    assert read(f"{store.url}/d/t.csv") == [2]
    store.faults["/d/r.npy"] = [f"{other}/d/1.npy"]
    with pytest.raises(SampleError) as caught:
        read(f"{store.url}/d/t.csv")
    assert str(caught.value).split("\n")[0] == (
        f"'x' of row 0 cannot be used: the file is redirected to another host, '{other}/'."
    )
    store.faults["/d/r.npy"] = ["file:///etc/passwd"]
    with pytest.raises(SampleError, match="is redirected to what is no secure URL"):
        read([f"{store.url}/d/r.npy"])
    store.faults["/d/r.npy"] = ["/d/r.npy"] * 9
    with pytest.raises(SampleError, match="is redirected more than 5 times"):
        read([f"{store.url}/d/r.npy"])


def test_limits_hold_whatever_a_server_says(store: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """A length that is too long, none at all, and what would be unpacked."""
    monkeypatch.setattr(fetch, "MAX_FILE_BYTES", 10_000)
    folder = Folder(store.url, True)
    store.files["/big"] = bytes(10_001)
    with pytest.raises(BadValue, match=r"has 10,001 bytes or more, where at most 10,000 are read"):
        folder.read("big")
    store.faults["/d/0.npy"] = ["endless"]
    with pytest.raises(BadValue, match=r"bytes or more, where at most 10,000 are read"):
        folder.read("d/0.npy")
    store.faults["/d/0.npy"] = ["gzip"]
    with pytest.raises(BadValue, match=r"comes compressed \(gzip\), though it was asked for as it is"):
        folder.read("d/0.npy")
    assert files.MAX_FILE_BYTES == 2**31


def test_web_servers_have_no_listing(store: Web) -> None:
    """Neither for patterns nor for folders."""
    with pytest.raises(DeclarationError) as caught:
        mf.align("id", x=f"{store.url}/d/{{id}}.npy")
    assert str(caught.value) == (
        f"a pattern needs a listing, which web servers have not: '{store.url}/d/{{id}}.npy'.\n"
        "  Name the files in a table: its relative names start at the table's own URL, or at "
        "mf.Dataset(root=...)."
    )
    with pytest.raises(BadValue, match="cannot be listed"):
        Folder(store.url, True).names("d")


def test_a_table_that_cannot_be_had_is_told(store: Web) -> None:
    """With its URL, without what may be secret."""
    with pytest.raises(DeclarationError) as caught:
        mf.Dataset(f"{store.url}/none.csv?key=x", inputs=mf.Numeric("x"))
    assert str(caught.value) == (
        f"the table file '{store.url}/none.csv' does not exist (HTTP 404).\n  {REPLACE}"
    )
    with pytest.raises(DeclarationError, match=r"a table file ends in one of \.csv"):
        mf.Dataset(f"{store.url}/none.xyz", inputs=mf.Numeric("x"))
    store.files["/bad.parquet"] = b"PAR1 and no more"
    with pytest.raises(
        DeclarationError, match=f"the table file '{store.url}/bad.parquet' cannot be read"
    ):
        mf.Dataset(f"{store.url}/bad.parquet", inputs=mf.Numeric("x"))


def test_all_kinds_of_table_files_are_read(store: Web, tmp_path: Path) -> None:
    """Also one that is mapped into memory here."""
    import pyarrow as pa
    from pyarrow import feather, parquet

    table = pa.table({"x": ["0.npy", "2.npy"]})
    feather.write_feather(table, str(tmp_path / "t.feather"))
    parquet.write_table(table, tmp_path / "t.parquet")
    (tmp_path / "t.jsonl").write_text('{"x": "0.npy"}\n{"x": "2.npy"}\n')
    for name in ("t.feather", "t.parquet", "t.jsonl"):
        store.files[f"/d/{name}"] = (tmp_path / name).read_bytes()
        assert read(f"{store.url}/d/{name}") == [0, 2]


def test_what_fsspec_knows_is_read_too() -> None:
    """By a scheme of its own; and one that nobody knows is an error."""
    import fsspec

    memory = fsspec.filesystem("memory")
    for number in range(3):
        memory.pipe_file(f"/top/d/{number}.npy", npy(number))
    assert read(["memory://top/d/1.npy"]) == [1]
    rows = mf.align("id", x="memory://top/d/{id}.npy")
    assert rows.to_pydict()["x"] == [f"memory://top/d/{number}.npy" for number in range(3)]
    data = mf.Dataset(rows, key="id", inputs=mf.Array("x", (2,)))
    assert data[2][0].tolist() == [2, 2]
    with Folder("memory://top", True).open("d/1.npy") as file:
        assert file.read() == npy(1)
    assert Folder("memory://top", True).names("d") == ["d/0.npy", "d/1.npy", "d/2.npy"]
    with pytest.raises(SampleError, match="the file does not exist"):
        read(["memory://top/none.npy"])
    with pytest.raises(DeclarationError) as caught:
        read(["unheard://host/x.npy"])
    assert str(caught.value) == (
        "a path of unheard:// cannot be opened: Protocol not known: unheard.\n"
        "  There are s3://, gs://, az://, https://, file://, and what fsspec reads."
    )
    for scheme in ("zip", "reference", "simplecache", "local"):
        with pytest.raises(
            DeclarationError, match=f"{scheme}:// cannot be opened: it stands on another"
        ):
            read([f"{scheme}://etc/x.npy"])
