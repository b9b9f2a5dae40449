"""Messages: what others have named and written is quoted so that it does no harm."""

from __future__ import annotations

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
