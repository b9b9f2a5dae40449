"""Progress bars, on a terminal alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress


def bars_on_terminal(shown: bool) -> Progress:
    """Return what draws bars on stderr while something is read, on a terminal, if shown."""
    # Late, because it takes longer to import than all the rest.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    title = TextColumn("{task.description}", markup=False)
    columns = (title, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    is_hidden = not (shown and console.is_terminal)
    return Progress(*columns, console=console, transient=True, disable=is_hidden)
