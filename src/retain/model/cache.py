"""The model opened last, kept in memory so that the next step need not read it again.

One is kept: the step after a phase is nearly always its evaluation, on the same weights.
"""

from pathlib import Path

from retain.model.load import Loaded, load

_kept: dict[tuple[Path, str, str, str | None], Loaded] = {}


def get(
    folder: Path,
    *,
    precision: str = "auto",
    device: str = "auto",
    quantisation: str | None = None,
) -> Loaded:
    """The model of a folder, to be read only; opened if it is not the one kept."""
    key = (folder.resolve(), precision, device, quantisation)
    if key not in _kept:
        _kept.clear()  # first: two models at once may not fit
        _kept[key] = load(
            str(folder), precision=precision, device=device, quantisation=quantisation
        )
    return _kept[key]


def take(
    folder: Path,
    *,
    precision: str = "auto",
    device: str = "auto",
    quantisation: str | None = None,
) -> Loaded:
    """The model of a folder, to be changed by the caller; no longer kept here."""
    loaded = get(folder, precision=precision, device=device, quantisation=quantisation)
    _kept.clear()
    return loaded


def put(folder: Path, loaded: Loaded, *, precision: str = "auto", device: str = "auto") -> None:
    """Keep ``loaded`` as what ``folder`` holds, or will hold once its step is committed."""
    _kept.clear()
    _kept[(folder.resolve(), precision, device, None)] = loaded


def clear() -> None:
    """Keep nothing."""
    _kept.clear()
