"""Debian packages through the user's own apt: optional sources, in the version that apt offers.

Debian replaces a package's file with every security update, so the table pins names only. What
apt offers (version, sha256, size, signed by the archive) is recorded in the cache at the first
fetch and used from then on; the record enters the facts and the fingerprint of every data set.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

from retain.embedded.cache import cache_dir
from retain.embedded.entry import Package
from retain.errors import EmbeddedError
from retain.steps.durable import write_file

TOOLS = ("apt-get", "apt-cache", "dpkg-deb")


def missing_tool() -> str | None:
    """The first of apt's tools that is not on this machine; None when all are."""
    return next((tool for tool in TOOLS if shutil.which(tool) is None), None)


def available(packages: tuple[Package, ...]) -> tuple[list[Package], list[str]]:
    """Those of the packages that can be had here, and a clear word on those that cannot.

    Returns:
        Packages with version and hash filled in, and notes for the record: empty when all
        packages can be had.
    """
    recorded = [_recall(package) for package in packages]
    tool = missing_tool()
    if tool is not None:
        found = [package for package in recorded if package is not None]
        absent = [p.name for p, r in zip(packages, recorded, strict=True) if r is None]
        why = f"{tool} is not on this machine"
    else:
        found = [r or o for p, r in zip(packages, recorded, strict=True) if (o := r or _ask(p))]
        names = {package.name for package in found}
        absent = [package.name for package in packages if package.name not in names]
        why = "apt does not offer them here (`apt-get update` refreshes its lists)"
    notes = [f"left out, since {why}: {', '.join(absent)}"] if absent else []
    return found, notes


def offered(package: Package) -> Package:
    """The package with the version, file name, size and sha256 that apt offers, or that is kept.

    Raises:
        EmbeddedError: If apt is missing or does not offer it.
    """
    if package.sha256:
        return package
    found, notes = available((package,))
    if not found:
        raise EmbeddedError(f"{package.name} (Debian): {notes[0]}")
    return found[0]


def download(
    package: Package, folder: Path, progress: Callable[[int, int, str], None] | None
) -> Path:
    """Let apt download the package into the folder, and give the file.

    Raises:
        EmbeddedError: If apt cannot reach its archive or no longer has this version.
    """
    if progress is not None:
        progress(0, package.size_bytes, package.label)
    result = _apt("apt-get", "-q", "download", f"{package.name}={package.version}", folder=folder)
    files = list(folder.glob("*.deb"))
    if result.returncode != 0 or len(files) != 1:
        said = " ".join(line for line in result.stderr.splitlines() if line.startswith("E:"))
        raise EmbeddedError(
            f"apt could not fetch {package.label}: {said or result.stderr.strip()[-300:]}\n"
            "Connect, run `apt-get update`, then the same command."
        )
    if progress is not None:
        progress(package.size_bytes, package.size_bytes, package.label)
    return files[0]


def remember(package: Package) -> None:
    """Record which version is in the cache, so that later runs use the same one, offline too."""
    if _recall(package) != package:
        write_file(_record(package), json.dumps(asdict(package), indent=1) + "\n")


def _record(package: Package) -> Path:
    return cache_dir() / "packages" / f"{package.name}.debian.json"


def _recall(package: Package) -> Package | None:
    """What the record says, while the file it speaks of is kept; else apt is asked anew."""
    path = _record(package)
    if not path.exists():
        return None
    try:
        kept = Package(**json.loads(path.read_text("utf-8")))
    except (ValueError, TypeError) as error:
        raise EmbeddedError(
            f"{path}: damaged record of a Debian package; delete it and run the same command"
        ) from error
    file = path.parent / kept.file
    return kept if file.exists() and file.stat().st_size == kept.size_bytes else None


@cache
def _ask(package: Package) -> Package | None:
    """What ``apt-cache show`` says of the version that apt would take; None if it has none."""
    result = _apt("apt-cache", "--no-all-versions", "show", package.name)
    if result.returncode != 0:
        return None
    fields = dict(
        line.split(": ", 1)
        for line in result.stdout.split("\n\n")[0].splitlines()
        if ": " in line and not line.startswith(" ")
    )
    if not {"Version", "SHA256", "Size", "Filename"} <= fields.keys():
        return None
    return replace(
        package,
        version=fields["Version"],
        file=Path(fields["Filename"]).name,
        sha256=fields["SHA256"],
        size_bytes=int(fields["Size"]),
    )


def _apt(*command: str, folder: Path | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
