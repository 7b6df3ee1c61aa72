"""Where the name of a source leads: to files, to a hub, or nowhere."""

from difflib import get_close_matches
from pathlib import Path

from retain.data.files import READERS
from retain.errors import DataError

HUB = "hub:"


def files_of(name: str) -> list[tuple[str, Path]]:
    """(label, path) of the files of a source; [] if the name can only be a hub id.

    Raises:
        DataError: If it names a file or folder that is not there or holds nothing known.
    """
    path = Path(name).expanduser()
    known = ", ".join(READERS)
    if name.startswith(HUB):
        return []
    if path.is_dir():
        files = sorted(
            file
            for file in path.rglob("*")
            if file.suffix.lower() in READERS
            and file.is_file()
            and not any(part.startswith(".") for part in file.relative_to(path).parts)
        )
        if not files:
            raise DataError(f"{name}: the folder holds no data file ({known})")
        return [(file.relative_to(path).as_posix(), file) for file in files]
    if path.is_file():
        if path.suffix.lower() not in READERS:
            raise DataError(f"{name}: unknown ending '{path.suffix}'. Known: {known}.")
        return [(path.name, path)]
    if _may_be_on_hub(name, path):
        return []
    raise DataError(_not_found(name, path))


def _may_be_on_hub(name: str, path: Path) -> bool:
    owner, slash, rest = name.partition("/")
    is_pair = bool(slash and owner and rest) and "/" not in rest and not name.startswith((".", "~"))
    return is_pair and path.suffix.lower() not in READERS and not Path(owner).is_dir()


def _not_found(name: str, path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"{name}: no such file; the folder {folder} does not exist"
    beside = [other.name for other in folder.iterdir()]
    close = get_close_matches(path.name, beside, n=1)
    guess = f" Did you mean '{folder / close[0]}'?" if close else ""
    return (
        f"{name}: no such file.{guess} A source is a file, a folder, `embedded:NAME` or a hub id "
        "(OWNER/NAME, or hub:NAME)."
    )
