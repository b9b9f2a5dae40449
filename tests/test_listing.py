"""Path patterns: which files they find, what they read from their names, what they say if none."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multifeed import listing
from multifeed.errors import DeclarationError
from multifeed.listing import Pattern


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def found(pattern: str | os.PathLike[str]) -> dict[str, list[str]]:
    return Pattern(pattern).table("path").to_pydict()


def paths(pattern: str) -> list[str]:
    return found(pattern)["path"]


def test_braces_become_columns_and_rows_are_sorted_by_path() -> None:
    """Each brace is a column, and rows are sorted by path whatever the file system's order."""
    write("photos/dog/2.jpg", "photos/cat/9.jpg", "photos/cat/1.jpg", "photos/cat-big/5.jpg")
    assert found("photos/{label}/{id}.jpg") == {
        # By path: "-" stands before "/".
        "path": ["photos/cat-big/5.jpg", "photos/cat/1.jpg", "photos/cat/9.jpg", "photos/dog/2.jpg"],
        "label": ["cat-big", "cat", "cat", "dog"],
        "id": ["5", "1", "9", "2"],
    }


def test_paths_are_matched_in_runs_of_any_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many paths are matched at once, the table is the same."""
    write(*(f"a/{number}.x" for number in range(7)))
    whole = found("a/{id}.x")
    monkeypatch.setattr(listing, "_AT_ONCE", 2)
    assert found("a/{id}.x") == whole


def test_a_brace_is_never_empty_and_never_spans_folders() -> None:
    """A brace stands for at least one character, within one name."""
    write("a/.jpg", "a/_1.jpg", "a/b/c.jpg", "a/x_1.jpg")
    assert paths("a/{id}_1.jpg") == ["a/x_1.jpg"]
    assert paths("a/{id}.jpg") == ["a/_1.jpg", "a/x_1.jpg"]


def test_the_first_of_two_braces_in_a_name_takes_as_much_as_it_can() -> None:
    """Where a name can be read in several ways, the first brace is the longest."""
    write("a_b_c.jpg")
    assert found("{x}_{y}.jpg") == {"path": ["a_b_c.jpg"], "x": ["a_b"], "y": ["c"]}


def test_a_star_stands_for_any_characters_within_a_name() -> None:
    """A star matches nothing or anything, but no slash; it makes no column."""
    write("1.jpg", "2.jpeg", "3.tar.gz", "x1.jpg", "sub/4.jpg")
    assert found("{id}.*") == {
        "path": ["1.jpg", "2.jpeg", "3.tar.gz", "x1.jpg"],
        "id": ["1", "2", "3.tar", "x1"],
    }
    assert paths("*/{id}.*") == ["sub/4.jpg"]
    assert paths("*1.{ending}") == ["1.jpg", "x1.jpg"]


def test_two_stars_stand_for_any_depth_of_folders() -> None:
    """`**` matches no folder or many; at the end, all files below."""
    write("a/1.jpg", "a/b/2.jpg", "a/b/c/3.jpg", "a/b/c/4.png", "5.jpg")
    assert found("a/**/{id}.jpg") == {
        "path": ["a/1.jpg", "a/b/2.jpg", "a/b/c/3.jpg"],
        "id": ["1", "2", "3"],
    }
    assert paths("**/c/{id}.*") == ["a/b/c/3.jpg", "a/b/c/4.png"]
    assert paths("a/{folder}/**") == ["a/b/2.jpg", "a/b/c/3.jpg", "a/b/c/4.png"]


def test_a_file_that_two_depths_lead_to_is_one_row() -> None:
    """Two `**` can reach a file in several ways; it is listed once."""
    write("a/b/c/1.jpg", "a/2.jpg")
    assert found("**/{folder}/**/{id}.jpg") == {
        "path": ["a/2.jpg", "a/b/c/1.jpg"],
        "folder": ["a", "c"],
        "id": ["2", "1"],
    }
    assert paths("**/**/{id}.jpg") == ["a/2.jpg", "a/b/c/1.jpg"]


def test_a_trailing_slash_asks_for_folders() -> None:
    """With a slash at its end a pattern matches folders, otherwise it never does."""
    write("scans/p1/slice1.dcm", "scans/p2/slice1.dcm", "scans/p3")
    assert found("scans/{id}/") == {"path": ["scans/p1", "scans/p2"], "id": ["p1", "p2"]}
    assert paths("scans/{id}") == ["scans/p3"]
    assert paths("scans/{id}/**/") == []


def test_a_brace_that_occurs_twice_says_the_same_twice() -> None:
    """A repeated brace is one column, and what says two different things does not match."""
    write("p1/p1_left.jpg", "p1/p2_left.jpg", "p1_x/p1_x_left.jpg")
    assert found("{id}/{id}_left.jpg") == {
        "path": ["p1/p1_left.jpg", "p1_x/p1_x_left.jpg"],
        "id": ["p1", "p1_x"],
    }
    write("a_a_a_a.png", "a_b.png")
    assert found("{x}_{x}.png") == {"path": ["a_a_a_a.png"], "x": ["a_a"]}
    write("d/k/x/k.txt", "k/k.txt", "k/j.txt")
    assert paths("**/{id}/**/{id}.txt") == ["d/k/x/k.txt", "k/k.txt"]


def test_doubled_braces_are_literal() -> None:
    """`{{` and `}}` stand for the characters, in folders and in names."""
    write("{raw}/{1}.txt", "{raw}/2.txt")
    assert found("{{raw}}/{{{id}}}.txt") == {"path": ["{raw}/{1}.txt"], "id": ["1"]}
    assert Pattern("{{raw}}/{{{id}}}.txt").path_of({"id": "7"}) == "{raw}/{7}.txt"


def test_an_absolute_pattern_gives_absolute_paths(tmp_path: Path) -> None:
    """Paths start as the pattern does; a path object will do, and `./` is left out."""
    write("a/1.jpg")
    assert paths(f"{tmp_path}/a/{{id}}.jpg") == [f"{tmp_path}/a/1.jpg"]
    assert found(tmp_path / "a" / "{id}.jpg")["path"] == [f"{tmp_path}/a/1.jpg"]
    assert paths("./a//{id}.jpg") == ["a/1.jpg"]


def test_names_with_a_dot_in_front_are_passed_over_unless_asked_for() -> None:
    """As in a shell, hidden files and folders match only a dot that is written out."""
    write("a/.hidden.jpg", "a/1.jpg", "a/.cache/2.jpg", ".top/3.jpg")
    assert paths("a/{id}.jpg") == ["a/1.jpg"]
    assert paths("a/*.{ending}") == ["a/1.jpg"]
    assert paths("**/{id}.jpg") == ["a/1.jpg"]
    assert found("a/.{id}.jpg") == {"path": ["a/.hidden.jpg"], "id": ["hidden"]}
    assert paths(".t*/{id}.jpg") == [".top/3.jpg"]
    assert paths(".top/{id}.jpg") == [".top/3.jpg"]


def test_a_last_part_without_braces_is_looked_up() -> None:
    """One file of the same name in each folder: the folders that lack it do not match."""
    write("p1/t1.nii", "p2/t2.nii", "p3/t1.nii")
    Path("p4/t1.nii").mkdir(parents=True)
    assert found("{id}/t1.nii") == {"path": ["p1/t1.nii", "p3/t1.nii"], "id": ["p1", "p3"]}
    assert paths("{id}/t1.nii/") == ["p4/t1.nii"]


def test_links_are_followed_but_not_by_two_stars() -> None:
    """A linked folder is like any other, except that `**` leaves it out: links can go round."""
    write("real/1.jpg")
    Path("linked").symlink_to("real")
    Path("real/round").symlink_to("..")
    Path("real/broken.jpg").symlink_to("nothing")
    assert paths("{folder}/1.jpg") == ["linked/1.jpg", "real/1.jpg"]
    # A broken link is listed: whoever reads it says that the file does not exist.
    assert paths("**/{id}.jpg") == ["real/1.jpg", "real/broken.jpg"]


def test_every_character_of_a_name_stands_for_itself() -> None:
    """Nothing in a file name or in a pattern's own text is taken for a regular expression."""
    names = ["a b (1).jpg", "a+b[1].jpg", "a\n1.jpg", "ä^$1.jpg", "a\\d.jpg", "a|1.jpg\n"]
    write(*names)
    for name in names:
        assert paths(f"{name[:-2]}{{x}}{name[-1]}") == [name]
    assert found("a{x}.jpg")["x"] == ["\n1", " b (1)", "+b[1]", "\\d"]
    assert found("{größe}^$1.jpg") == {"path": ["ä^$1.jpg"], "größe": ["ä"]}


_names = st.text("ab_.-1{}*é ", min_size=1, max_size=4).filter(lambda name: not name.startswith("."))
_pieces = st.lists(
    st.one_of(
        st.sampled_from(["{x}", "{y}", "{z}"]),
        st.text("ab_.-1é ", min_size=1, max_size=2),
    ),
    min_size=1,
    max_size=4,
).map("".join)
_parts = _pieces.filter(lambda part: not part.startswith("."))


@settings(deadline=None)
@given(
    st.lists(_parts, min_size=1, max_size=3).map("/".join).filter(lambda text: "{" in text),
    st.lists(st.fixed_dictionaries({"x": _names, "y": _names, "z": _names}), min_size=1, max_size=5),
)
def test_what_a_pattern_reads_writes_the_path_again(text: str, values: list[dict[str, str]]) -> None:
    """Every file that the pattern's own words can name is found, and its braces rebuild its path."""
    pattern = Pattern(text)
    made = set()
    with tempfile.TemporaryDirectory() as folder:
        for each in values:
            path = pattern.path_of(each)
            try:
                write(f"{folder}/{path}")
            except OSError:
                continue  # one path is a folder of another
            made.add(path)
        pattern = Pattern(f"{folder}/{text}")
        table = pattern.table("path").to_pylist()
        assert {row["path"] for row in table} >= {f"{folder}/{path}" for path in made}
        for row in table:
            assert pattern.path_of(row) == row["path"]


@settings(deadline=None)
@given(st.lists(_parts, min_size=1, max_size=2).map("/".join), st.lists(_names, min_size=1, max_size=9))
def test_both_matchers_read_names_alike(text: str, names: list[str]) -> None:
    """Arrow's regular expressions, which lack repetition, and Python's give the same columns."""
    pattern = Pattern(text)
    if listing._braces(text) != pattern.names:
        return
    candidates = [*names, *(f"{name}/{names[0]}" for name in names)]
    matches = [pattern._matches(path) for path in candidates]
    expected = [match and match.groupdict() for match in matches]
    assert pattern._extract(pa.array(candidates)).to_pylist() == expected


def test_a_missing_file_is_looked_for_by_its_path() -> None:
    """The path of a key fills in what is known and leaves the other braces."""
    assert Pattern("a/{label}/{id}.*").path_of({"id": "7"}) == "a/{label}/7.*"


def test_an_empty_pattern_says_what_the_last_folder_holds(tmp_path: Path) -> None:
    """Where a pattern's plain folders exist, their content is quoted, hidden names included."""
    write("a/1.png", "a/2.png", "a/3.png", "a/4.png", "a/.5.jpg")
    assert paths("a/{id}.jpg") == []
    assert Pattern("a/{id}.jpg").why_empty() == (
        f"That is as far as it leads: '{tmp_path}/a', which holds '.5.jpg', '1.png', '2.png' and 2 more."
    )
    Path("b").mkdir()
    assert Pattern("b/{id}.jpg").why_empty() == (
        f"That is as far as it leads: '{tmp_path}/b', which is empty."
    )


def test_an_empty_pattern_names_the_first_folder_that_is_not_there(tmp_path: Path) -> None:
    """A misspelt folder is named, with what stands beside it."""
    write("{scans}/left/1.png")
    assert paths("{{scans}}/lef/{id}.png") == []
    assert Pattern("{{scans}}/lef/{id}.png").why_empty() == (
        f"There is no folder 'lef' in '{tmp_path}/{{scans}}', which holds 'left'."
    )
    assert (
        Pattern("/no-such-folder/{id}.png")
        .why_empty()
        .startswith("There is no folder 'no-such-folder' in '/', which holds '")
    )


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("a/{}.jpg", "{} is not a plain name"),
        ("a/{0}.jpg", "{0} is not a plain name"),
        ("a/{b.c}.jpg", "{b.c} is not a plain name"),
        ("a/{id!r}.jpg", "{id!r} is not a plain name"),
        ("a/{id:04d}.jpg", "{id:04d} is not a plain name"),
        ("a/{b/c}.jpg", "{b/c} is not a plain name"),
        ("a/{id.jpg", "expected '}' before end of string"),
        ("a/{id}}.jpg", "Single '}' encountered in format string"),
    ],
)
def test_a_brace_that_is_no_plain_name_is_refused(text: str, fact: str) -> None:
    """What Python's format strings could do besides is refused, not ignored."""
    with pytest.raises(DeclarationError) as error:
        Pattern(text)
    assert str(error.value) == (
        f"the pattern {text!r} cannot be understood: {fact}.\n"
        "  Write a brace as {id}, and a literal brace as {{ or }}."
    )


def test_a_name_that_is_not_utf8_is_named() -> None:
    """A file name that cannot be text is an error that quotes it, unless the pattern leaves it out."""
    Path("a").mkdir()
    try:
        os.close(os.open(b"a/caf\xe9.jpg", os.O_CREAT))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    write("a/1.png")
    assert paths("a/{id}.png") == ["a/1.png"]
    with pytest.raises(DeclarationError) as error:
        found("a/{id}.jpg")
    assert str(error.value) == (
        "file names must be UTF-8: the pattern 'a/{id}.jpg' matches 'a/caf\\udce9.jpg'.\n"
        "  Rename the file (convmv does it for whole trees), or narrow the pattern."
    )


def test_a_folder_that_cannot_be_listed_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that may be there but cannot be seen are not passed over in silence."""
    write("a/b/1.jpg")
    scan = os.scandir

    def refuse(folder: str) -> object:
        if folder == "a/b/":
            raise PermissionError(13, "Permission denied", folder)
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DeclarationError) as error:
        found("a/{label}/{id}.jpg")
    assert str(error.value) == (
        "the folder 'a/b/' cannot be listed (Permission denied).\n"
        "  Make it readable, or narrow the pattern."
    )
