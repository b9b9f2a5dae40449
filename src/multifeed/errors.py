"""The exceptions of multifeed. Each message says the rule, what came, where, and the remedy."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence


class MultifeedError(Exception):
    """Base of every error that multifeed raises."""


class DeclarationError(MultifeedError, ValueError):
    """What was declared cannot work: a column, size, name or option is wrong."""


class AlignError(MultifeedError, ValueError):
    """The sources of `align` do not line up by key."""


class NotAdaptedError(MultifeedError, RuntimeError):
    """A field is used before `Dataset.adapt` learned what it needs."""


class StateError(MultifeedError, RuntimeError):
    """Something was asked of a dataset or loader at a moment when it cannot be done."""


class ModelError(MultifeedError, ValueError):
    """A model's inputs or outputs do not fit the dataset."""


class SampleError(MultifeedError, ValueError):
    """One value of one sample cannot be read.

    Attributes:
        field: Name of the field.
        key: Key of the sample, or None where the dataset has no key.
        row: Row number in `Dataset.rows`.
        file: The file that was read, or None.
        reason: What is wrong with it, in few words.
    """

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        key: str | None = None,
        row: int | None = None,
        file: str | None = None,
        reason: str = "",
    ) -> None:
        super().__init__(message)
        self.field = field
        self.key = key
        self.row = row
        self.file = file
        self.reason = reason


class BadSamplesError(MultifeedError, ValueError):
    """More samples cannot be read than `max_bad` allows.

    Attributes:
        samples: Those found so far, as `multifeed.policy.BadSample`.
    """

    def __init__(self, message: str, samples: Sequence[object] = ()) -> None:
        super().__init__(message)
        self.samples = tuple(samples)


class StreamError(MultifeedError, RuntimeError):
    """A stream of batches raised, ended too early, or gave what does not go with the others.

    Attributes:
        stream: Its name.
        batch: Which batch of its pass that was, from 0; None where it is about no single one.
    """

    def __init__(self, message: str, *, stream: str | None = None, batch: int | None = None) -> None:
        super().__init__(message)
        self.stream = stream
        self.batch = batch


class WorkerError(MultifeedError, RuntimeError):
    """Workers ended, again and again, could not be started, or got nowhere."""


class MultifeedWarning(UserWarning):
    """Something was left out or changed, as asked; the text says what."""


class BadValue(Exception):
    """A small fact raised deep inside, told to the user by whoever knows field, key and row.

    Args:
        reason: What is wrong with the value, as the end of a sentence.
        remedy: What to do, as a sentence.
        row: The row, where the raiser looked at many.
    """

    def __init__(self, reason: str, remedy: str, *, row: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy
        self.row = row


# What a terminal would take for a command, or would show in another order, and half characters, which
# cannot be written; not the ends of lines.
_UNPRINTABLE = re.compile(
    r"[\0-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
# Characters of a line of a message: a name of a file can have a million.
_LONGEST, _SHOWN = 2_000, 900


def lines(rule: str, *details: str) -> str:
    """Join a rule and what follows into one message, a line each.

    Names of files and values are somebody else's words: they are escaped and shortened.
    """
    text = "\n  ".join((rule, *(detail for detail in details if detail)))
    if len(text) > _LONGEST:
        text = "\n".join(map(_short, text.split("\n")))
    return _UNPRINTABLE.sub(lambda match: repr(match[0])[1:-1], text)


def one_line(name: str) -> str:
    """Return the name of a file as it stands in a message: it shall not begin a line of its own."""
    return name.replace("\n", "\\n")


def _short(line: str) -> str:
    return line if len(line) <= _LONGEST else f"{line[:_SHOWN]} … {line[-_SHOWN:]}"


def some(values: Sequence[object], limit: int = 3) -> str:
    """Quote the first few values: "'a', 'b', 'c' and 7 more"."""
    shown = ", ".join(repr(value) for value in values[:limit])
    hidden = len(values) - limit
    return f"{shown} and {hidden:,} more" if hidden > 0 else shown


def aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table of texts, its columns below each other."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    ]


def near(name: str, names: Iterable[str]) -> str:
    """Say which known names resemble a wrong one, else which there are."""
    known = sorted(names)
    close = difflib.get_close_matches(name, known, n=3)
    if close:
        return f"Did you mean {' or '.join(repr(match) for match in close)}?"
    return f"There are: {some(known, 8)}." if known else "There are none."
