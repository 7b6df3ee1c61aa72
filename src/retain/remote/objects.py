"""The objects below one address of an object store, by fsspec: S3, Google's, Azure's and others.

Only what every such store promises is relied on: an object that is put is there whole or not at
all, and is listed at once. There is no renaming. Every request is tried a bounded number of times,
and the journal names each that is tried again. What a message repeats of the other side is cleared
of every secret of the environment.
"""

import os
import re
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from retain.errors import StoreError, did_you_mean
from retain.steps.journal import Journal

ATTEMPTS = 6
PAUSE_SECONDS = 0.5
"""Before the second attempt; twice as long before each further one: 15 s in all."""
REQUEST_SECONDS = 600.0
"""The most that an attempt takes. Of a put whose first line is not answered (Expect: 100-continue)
the libraries below do not always keep their own time."""
ADDRESS = re.compile(r"([a-z][a-z0-9+.-]*)://(.*)", re.DOTALL)
OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {
        "config_kwargs": {
            "connect_timeout": 10,
            "read_timeout": 60,
            "retries": {"total_max_attempts": 1},
        }
    }
}
INSTALL = {"s3": "retain[s3]", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}
LOCAL = ("file", "local")
SECRET = re.compile(r"KEY|SECRET|TOKEN|PASSWORD|CREDENTIAL|SIGNATURE", re.IGNORECASE)
MIN_SECRET, MAX_REASON = 6, 300
NO_CREDENTIALS = re.compile(r"credential|ProfileNotFound|TokenRetrieval|SSO", re.IGNORECASE)

T = TypeVar("T")


class ShortObjectError(StoreError):
    """An object has, time after time, another size than it should have."""


class MissingObjectError(StoreError):
    """There is no object of this name."""


def is_address(runs: object) -> bool:
    """Whether a runs place is an address, ``s3://bucket/prefix``, and not a folder."""
    return isinstance(runs, str) and ADDRESS.fullmatch(runs) is not None


class Objects:
    """The objects below one address; names are relative to it. Nothing is asked until it is used.

    Args:
        url: ``s3://bucket/prefix``.

    Attributes:
        url: Without a slash at its end.
        journal: Gets a line for whatever is tried again.

    Raises:
        StoreError: If it is no address of an object store, or what speaks to it is not installed.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.journal: Journal | None = None
        self._system, self._root = _open(self.url)
        self._lock = threading.Lock()

    def put(self, name: str, content: bytes) -> None:
        """Put an object, in the place of the one that has its name."""
        self._attempt("put", name, lambda: self._ask("pipe_file", self._path(name), content))

    def create(self, name: str, content: bytes) -> bool:
        """Put an object if there is none of its name; false if there is one with other content.

        Raises:
            StoreError: As all; or if the store's library cannot do that.
        """

        def do() -> bool:
            try:
                self._ask("pipe_file", self._path(name), content, mode="create")
            except TypeError as error:
                raise StoreError(f"{self.url}: {NOT_CONDITIONAL}") from error
            except Exception as error:
                if not _is_there_already(error):
                    raise
                return False
            return True

        if self._attempt("create", name, do):
            return True
        try:  # an attempt whose answer was lost may have put it
            return self.get(name) == content
        except MissingObjectError:  # and removed since
            return False

    def get(self, name: str, num_bytes: int | None = None) -> bytes:
        """The content of an object.

        Args:
            name: Of the object.
            num_bytes: How many it must have; None: any number.

        Raises:
            MissingObjectError: If there is none.
            ShortObjectError: If it has another number of bytes, time after time.
            StoreError: As all.
        """

        def do() -> bytes:
            content: bytes = self._ask("cat_file", self._path(name))
            if num_bytes is not None and len(content) != num_bytes:
                raise ShortObjectError(
                    f"{self.url}/{name}: has {len(content)} bytes instead of {num_bytes}"
                )
            return content

        return self._attempt("get", name, do)

    def sizes(self, folder: str) -> dict[str, int]:
        """Name, relative to the folder, and bytes of every object below it."""
        place = f"{self._path(folder)}/" if folder else f"{self._root}/"

        def do() -> dict[str, int]:
            try:
                found = self._ask("find", place, detail=True, withdirs=False)
            except FileNotFoundError as error:
                if "NoSuchBucket" in repr(error.__cause__):
                    raise
                return {}
            return {name[len(place) :]: int(one["size"]) for name, one in found.items()}

        return self._attempt("list", folder, do)

    def folders(self) -> list[str]:
        """What lies directly below the address and holds objects, by name."""

        def do() -> list[str]:
            try:
                found = self._ask("ls", self._root, detail=True)
            except FileNotFoundError:
                return []
            return sorted(
                one["name"].rstrip("/").rpartition("/")[2]
                for one in found
                if one["type"] == "directory"
            )

        return self._attempt("list", "", do)

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects; fine if some are gone already."""
        for name in names:
            self._attempt("remove", name, partial(self._remove, self._path(name)))

    def _remove(self, path: str) -> None:
        with suppress(FileNotFoundError):
            self._ask("rm_file", path)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _ask(self, method: str, *args: Any, **options: Any) -> Any:
        """What the file system's method answers, if it does in time."""
        timed = {"timeout": REQUEST_SECONDS} if self._system.async_impl else {}
        return getattr(self._system, method)(*args, **options, **timed)

    def _attempt(self, verb: str, name: str, do: Callable[[], T]) -> T:
        attempt = 1
        while True:
            try:
                return do()
            except Exception as error:  # every file system raises its own
                told = self._fault(verb, name, error, attempt)
                if told is error:
                    raise
                if told is not None:
                    raise told from error
            time.sleep(PAUSE_SECONDS * 2 ** (attempt - 1))
            attempt += 1

    def _fault(self, verb: str, name: str, error: Exception, attempt: int) -> StoreError | None:
        """What to raise, or None if it is worth another attempt."""
        place, reason = f"{self.url}/{name}", reason_of(error)
        if isinstance(error, FileNotFoundError):
            missing = f"{place}: is not there ({reason})"
            return MissingObjectError(missing) if verb == "get" else StoreError(missing)
        final = _final(error)
        if final:
            return StoreError(f"{place}: cannot {verb} ({reason}). {final}")
        if isinstance(error, StoreError) and not isinstance(error, ShortObjectError):
            return error
        if attempt < ATTEMPTS:
            if self.journal is not None:
                with self._lock:
                    self.journal.event(
                        "store retry",
                        request=verb,
                        object=name,
                        reason=reason,
                        attempt=attempt,
                        attempts=ATTEMPTS,
                    )
            return None
        if isinstance(error, ShortObjectError):
            return error
        return StoreError(
            f"{place}: cannot {verb}, tried {ATTEMPTS} times ({reason}). What is finished is kept "
            "on this machine; the same command sends it when the store answers again."
        )


NOT_CONDITIONAL = (
    "the store, or what speaks to it, cannot put an object only where there is none, so nothing "
    "would keep two machines out of one run. Take one that can (S3 itself, MinIO, Google's), or a "
    "folder."
)


def reason_of(error: BaseException) -> str:
    """An error in a line, without any secret of the environment."""
    first = str(error).strip().partition("\n")[0]
    return cleared(f"{type(error).__name__}: {first}" if first else type(error).__name__)


def cleared(text: str) -> str:
    """The start of a text, each value of a variable named like a secret left out."""
    for name, value in os.environ.items():
        if SECRET.search(name) and len(value) >= MIN_SECRET:
            text = text.replace(value, f"({name})")
    return text[:MAX_REASON]


def _open(url: str) -> tuple[Any, str]:
    """What speaks to the store, and the path there."""
    import fsspec

    parsed = ADDRESS.fullmatch(url)
    protocol, path = parsed.groups() if parsed else ("", "")
    if protocol in LOCAL or not path.strip("/"):
        raise StoreError(
            f"--runs {cleared(url)}: give a folder, or a bucket and a prefix as s3://bucket/runs"
        )
    if "@" in path.partition("/")[0]:
        raise StoreError("--runs: an address holds no credentials; they come from the environment")
    known = sorted(fsspec.available_protocols())
    if protocol not in known:
        raise StoreError(f"--runs {url}: {did_you_mean('kind of store', protocol, known)}")
    try:
        system, root = fsspec.core.url_to_fs(
            url, use_listings_cache=False, **OPTIONS.get(protocol, {})
        )
    except ImportError as error:
        package = INSTALL.get(protocol, "")
        how = f"pip install '{package}'" if package else str(error)
        raise StoreError(f"--runs {url}: what speaks to this store is missing: {how}") from error
    if hasattr(system, "retries"):
        system.retries = 1  # ours are counted, and named in the journal
    return system, root.rstrip("/")


def _is_there_already(error: Exception) -> bool:
    """Whether the condition that no object has the name was found not to hold."""
    response = getattr(error.__cause__, "response", None) or {}
    code = str(response.get("Error", {}).get("Code", "")) or str(getattr(error, "code", ""))
    return isinstance(error, FileExistsError) or code in ("PreconditionFailed", "412")


def _final(error: Exception) -> str:
    """What to do about an error that no further attempt helps; "" for others."""
    text = f"{type(error).__name__} {error} {error.__cause__!r}"
    if "TimeTooSkewed" in text or "request time and the" in text:
        return "This machine's clock is wrong: set it, as `timedatectl set-ntp true` does."
    if isinstance(error, PermissionError):
        return (
            "The credentials of the environment (AWS_ACCESS_KEY_ID or AWS_PROFILE for S3) are "
            "wrong, or may not do that."
        )
    if NO_CREDENTIALS.search(type(error).__name__):
        return "Set the store's credentials in the environment: AWS_PROFILE or AWS_ACCESS_KEY_ID."
    return ""
