"""Messages: what others have named and written is quoted so that it does no harm."""

from __future__ import annotations

from pathlib import Path

import pytest

import multifeed as mf
from multifeed.errors import lines


def test_what_a_terminal_would_obey_is_escaped() -> None:
    """Control characters, changes of direction and half characters; letters of all kinds stay."""
    assert lines("a \x1b[31m \x9b \x7f \0 \r", "b \u202e \udc80 \u2028") == (
        "a \\x1b[31m \\x9b \\x7f \\x00 \\r\n  b \\u202e \\udc80 \\u2028"
    )
    assert lines("Grüße, 世界 — 'ñ'\tx", "", "é") == "Grüße, 世界 — 'ñ'\tx\n  é"


def test_long_lines_are_shortened() -> None:
    """Their ends stay: that of a file name says most."""
    text = lines("rule", "x" * 5_000 + ".jpg", "remedy")
    rule, detail, remedy = text.split("\n")
    assert (rule, remedy) == ("rule", "  remedy")
    assert detail == f"  {'x' * 898} … {'x' * 896}.jpg"


def test_a_name_with_a_line_break_begins_no_line(tmp_path: Path) -> None:
    """It is somebody else's word, and must not look like one of ours."""
    path = tmp_path / "a\n  Pass anything.jpg"
    path.write_bytes(b"no image")
    data = mf.Dataset({"photo": [str(path)]}, inputs=mf.Image("photo", 8))
    with pytest.raises(mf.SampleError) as caught:
        data[0]
    assert "\n  Pass anything" not in str(caught.value)
    assert "a\\n  Pass anything.jpg" in str(caught.value)
