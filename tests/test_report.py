"""Reports: what they say, and the advice that they give."""

from __future__ import annotations

import pytest

from multifeed.meter import Spent
from multifeed.report import FeedReport

DECODING = {"left": Spent(load_s=1.0, decode_s=6.0, loaded_bytes=2_500_000), "age": Spent(copy_s=1.0)}


def test_two_reports_are_subtracted() -> None:
    """What happened in between: of everything that is counted."""
    before = FeedReport(2, 8, 1.0, 3.0, 2, 4, {"x": Spent(1.0, 2.0, 3.0, 40, 5)})
    after = FeedReport(3, 12, 1.5, 5.0, 2, 4, {"x": Spent(1.5, 2.5, 3.5, 50, 7), "y": Spent(copy_s=1.0)})
    fields = {"x": Spent(0.5, 0.5, 0.5, 10, 2), "y": Spent(copy_s=1.0)}
    assert after - before == FeedReport(1, 4, 0.5, 2.0, 2, 4, fields)


def test_a_report_of_nothing_divides_by_nothing() -> None:
    """Before the first batch there is no speed, no share, and no advice."""
    assert (FeedReport().samples_per_s, FeedReport().waiting, FeedReport().advice()) == (0.0, 0.0, "")


def test_it_prints_as_a_table() -> None:
    """Samples/s, the share of waiting, seconds by field and stage, bytes; and the advice."""
    assert str(FeedReport(10, 640, 2.0, 3.0, 2, 2, DECODING)) == (
        "640 samples in 10 batches, 128 samples/s; waited 2.00 of 5.00 s (40%)\n"
        "field  read s  decode s  copy s  read MB\n"
        "left   1.00    6.00      -       2.5\n"
        "age    -       -         1.00    -\n"
        "whoever asked waited 40% of the time; decoding 'left' takes most of the loader's work (75%): "
        "all 2 processors are busy with it, so store the files nearer to the size that the model takes."
    )


@pytest.mark.parametrize(
    ("report", "advice"),
    [
        (FeedReport(9, 9, 0.09, 0.91, 2, 2, DECODING), ""),
        (FeedReport(9, 9, 1.0, 1.0), "the model waited 50% of the time."),
        (
            FeedReport(9, 9, 1.0, 1.0, 0, 2, {"x": Spent(copy_s=1.0)}),
            "the model waited 50% of the time; copying 'x' takes most of the loader's work (100%): "
            "it lies in memory, so only fewer or smaller values would be faster.",
        ),
        (
            FeedReport(9, 9, 50.0, 50.0, 2, 2, DECODING),
            "the model waited 50% of the time; decoding 'left' takes most of the loader's work (75%): "
            "the workers wait as well, so pass a larger prefetch= (or prefetch_bytes=).",
        ),
        (
            FeedReport(9, 9, 2.0, 3.0, 2, 8, DECODING),
            "the model waited 40% of the time; decoding 'left' takes most of the loader's work (75%): "
            "pass workers=8 (now 2).",
        ),
        (
            FeedReport(9, 9, 2.0, 3.0, 2, 2, {"left": Spent(load_s=9.0, decode_s=1.0)}),
            "the model waited 40% of the time; reading 'left' takes most of the loader's work (90%): "
            "pass more workers= (now 2), or move the files to a faster disk.",
        ),
    ],
)
def test_it_says_what_would_help(report: FeedReport, advice: str) -> None:
    """One sentence, by who waits for what; none if hardly anybody waited."""
    assert report.advice("the model") == advice


def test_it_speaks_of_a_cache_that_lacks_samples() -> None:
    """They are counted by field; one sentence says so, whether anybody waited or not."""
    fields = {"left": Spent(decode_s=1.0, samples=200, redone=3), "age": Spent(copy_s=1.0, samples=200)}
    cache = (
        "3 of 200 samples of 'left' were not in the cache, or have other files by now: remove its "
        "folder and call mf.cache again, with room enough."
    )
    assert FeedReport(9, 200, 0.01, 9.0, 2, 2, fields).advice() == cache
    waited = FeedReport(9, 200, 5.0, 5.0, 2, 2, fields)
    assert waited.advice("the model") == f"the model waited 50% of the time; {cache}"
    assert (
        "field  read s  decode s  copy s  read MB  redone\nleft   -       1.00      -       -        3"
        in str(waited)
    )
    few = {"left": Spent(samples=1_000, redone=3)}
    assert FeedReport(9, 200, 0.01, 9.0, 2, 2, few).advice() == ""
