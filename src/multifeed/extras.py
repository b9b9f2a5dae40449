"""Packages that only some fields and sources need: imported when they are, or the error says how to."""

from __future__ import annotations

import importlib
from typing import Any

from multifeed.errors import DeclarationError, lines


def package(name: str, *, extra: str, of: str) -> Any:
    """Return a package, or a module of one, that is installed with an extra of this one.

    Args:
        name: Its name, as it is imported.
        extra: The extra that brings it.
        of: What it is needed for, as the user wrote it, such as ``"mf.Text"``.

    Raises:
        DeclarationError: If it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise DeclarationError(
            lines(
                f"{of} is run by the package {name.partition('.')[0]}, which is not installed.",
                f'Run pip install "multifeed[{extra}]".',
            )
        ) from error
