"""URIs: what is one, how names are joined to one and kept under it, and what is shown of one."""

from __future__ import annotations

import pytest

from multifeed.remote.uri import is_under, is_uri, joined, localized, parent, parts_of, shown


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("s3://bucket/x", True),
        ("HTTPS://host/x", True),
        ("hf+x://a", True),
        ("C:/x", False),
        ("c://x", False),
        ("a/b://c", False),
        ("://x", False),
        ("x.npz::member", False),
    ],
)
def test_a_uri_begins_with_a_scheme(name: str, is_one: bool) -> None:
    """Two letters and more, so that a drive of Windows is none."""
    assert is_uri(name) == is_one


def test_files_of_this_machine_may_be_written_as_uris() -> None:
    """Escapes stand for what they are."""
    assert localized("file:///data/a%20b.jpg") == "/data/a b.jpg"
    assert localized("data/a%20b.jpg") == "data/a%20b.jpg"


def test_keys_of_buckets_are_taken_literally() -> None:
    """There is no query in a bucket, and nothing is escaped."""
    assert parts_of("S3://bucket/a b/%20?x#y") == ("s3", "s3://bucket", "a b/%20?x#y")
    assert parts_of("https://host?x=1") == ("https", "https://host", "?x=1")
    assert parts_of("https://host/a b/%20?x=ä#y").path == "a%20b/%20?x=%C3%A4"


@pytest.mark.parametrize(
    ("folder", "name", "uri"),
    [
        ("s3://bucket/a", "b/c d.jpg", "s3://bucket/a/b/c d.jpg"),
        ("s3://bucket", "c.jpg", "s3://bucket/c.jpg"),
        ("s3://bucket/a/b", "../c.jpg", "s3://bucket/a/c.jpg"),
        ("s3://bucket/a", "../../../c.jpg", "s3://bucket/c.jpg"),
        ("http://host/a", "b?x=1#y.jpg", "http://host/a/b%3Fx%3D1%23y.jpg"),
        ("http://host/a", "%2e%2e/b", "http://host/a/%252e%252e/b"),
    ],
)
def test_names_are_joined_to_a_uri(folder: str, name: str, uri: str) -> None:
    """On the web what a name holds is escaped, so that it is no query."""
    assert joined(folder, name) == uri


def test_the_folder_of_a_uri() -> None:
    """Without what signs the URL of one file."""
    assert parent("s3://bucket/a/t.csv") == "s3://bucket/a"
    assert parent("s3://bucket/t.csv") == "s3://bucket"
    assert parent("https://host/a/t.csv?key=b/c") == "https://host/a"


@pytest.mark.parametrize(
    ("uri", "is_inside"),
    [
        ("https://host/a/b.jpg", True),
        ("https://host/a/b.jpg?key=/../", True),
        ("https://host/ab.jpg", False),
        ("https://host/a/../b.jpg", False),
        ("https://host/a/%2e%2E/b.jpg", False),
        ("https://host/a/..%2fb.jpg", False),
        ("https://host/a/..%5cb.jpg", False),
        ("http://host/a/b.jpg", False),
        ("https://host:1/a/b.jpg", False),
        ("https://other/a/b.jpg", False),
        ("https://host.other/a/b.jpg", False),
        ("https://user@host/a/b.jpg", False),
    ],
)
def test_what_lies_under_a_uri(uri: str, is_inside: bool) -> None:
    """On the same host, and not by way of steps up, however they are written."""
    assert is_under("https://host/a", uri) == is_inside


def test_all_of_a_bucket_lies_under_it() -> None:
    """A folder that is no folder of the bucket but all of it."""
    assert is_under("s3://bucket", "s3://bucket/a")
    assert not is_under("s3://bucket", "s3://bucket2/a")


def test_what_may_be_secret_is_not_shown() -> None:
    """Neither users and passwords nor signatures."""
    assert shown("https://user:word@host/a.jpg?signature=x") == "https://host/a.jpg"
    assert shown("s3://key:word@bucket/a.jpg") == "s3://bucket/a.jpg"
    assert shown("a@b.jpg?x") == "a@b.jpg?x"
