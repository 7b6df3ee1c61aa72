"""What a row of the table says: packages, files inside them, and the entry that they make."""

from dataclasses import dataclass
from typing import Literal

Registry = Literal["pypi", "debian"]
Kind = Literal["model", "data"]


@dataclass(frozen=True)
class Package:
    """One archive of a registry.

    Attributes:
        name: As the registry spells it.
        version: Empty for a Debian package before apt was asked.
        registry: ``pypi`` or ``debian``.
        file: Name of the archive.
        sha256: Of the archive; empty as ``version`` is.
        licence: Of the package; what is inside may have its own (see the entry).
        size_bytes: Of the archive, which is the download.
    """

    name: str
    version: str
    registry: Registry
    file: str
    sha256: str
    licence: str
    size_bytes: int

    @property
    def label(self) -> str:
        """Name and version, for messages and records."""
        return f"{self.name} {self.version}".strip()


@dataclass(frozen=True)
class Member:
    """One file inside a package."""

    package: Package
    path: str


@dataclass(frozen=True)
class Entry:
    """What ``embedded:NAME`` stands for.

    Attributes:
        name: After ``embedded:``.
        kind: ``model`` or ``data``.
        members: The files it is read from, in the order in which they are joined.
        licence: What the reader of a report should know about using it.
        reader: Which function turns the files into rows (data) or a model folder.
        note: What it is, and what it is not.
        language: ISO 639 code; ``mul`` for several.
        num_rows: Rows that the reader gives; 0 for models and where Debian's version decides.
        version: Raised by hand when the reader's rows change.
        sha256: Of a model's joined GGUF file; empty for data.
        quantisation: Of a model's weights as they come; empty for data.
        terms: Files of licence and notice that travel with the weights.
        accept: Terms a user accepts by using it; shown once. Empty when the licence is a free one.
        debian: Packages that add to it where apt is at hand.
    """

    name: str
    kind: Kind
    members: tuple[Member, ...]
    licence: str
    reader: str
    note: str
    language: str
    num_rows: int = 0
    version: int = 1
    sha256: str = ""
    quantisation: str = ""
    terms: tuple[Member, ...] = ()
    accept: str = ""
    debian: tuple[Package, ...] = ()

    @property
    def packages(self) -> tuple[Package, ...]:
        """The PyPI packages it needs, each once."""
        return tuple(dict.fromkeys(m.package for m in (*self.members, *self.terms)))

    @property
    def size_bytes(self) -> int:
        """Bytes to download with an empty cache, Debian's packages not counted."""
        return sum(package.size_bytes for package in self.packages)
