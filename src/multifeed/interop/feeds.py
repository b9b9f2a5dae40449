"""What all that takes batches asks of a loader."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from multifeed.errors import DeclarationError, lines
from multifeed.feed import Feed


def feed_of(function: str, loader: Any) -> Feed:
    """Return the feed of a loader, or the feed that it is.

    Args:
        function: Who asks, such as ``"to_torch"``.
        loader: What the user has passed.

    Raises:
        DeclarationError: If it is neither.
    """
    feed = getattr(loader, "feed", loader)
    if isinstance(feed, Feed):
        return feed
    raise DeclarationError(
        lines(
            f"mf.{function} takes a Loader or a Feed; received {type(loader).__name__}.",
            "Write mf.Loader(data, batch_size=32).",
        )
    )


def check_dtypes(feed: Feed, host: str, holds: Callable[[str], bool], *, remedy: str = "") -> None:
    """Raise unless a library can hold the arrays of all batches as they are.

    Args:
        feed: What makes the batches.
        host: The library, as its users call it.
        holds: Whether it has a dtype, given its NumPy name; where it may say so by a `TypeError`.
        remedy: What the user can do; by default, to declare another dtype.

    Raises:
        DeclarationError: If it lacks the dtype of a field.
    """
    for name, spec in feed.specs.items():
        try:
            is_held = holds(spec.dtype)
        except TypeError:
            is_held = False
        if not is_held:
            raise DeclarationError(
                lines(
                    f"{host} has no {spec.dtype}, and {name!r} is {spec}.",
                    remedy or f'Declare {name!r} with dtype="float32".',
                )
            )
