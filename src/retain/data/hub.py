"""Data sets of the Hugging Face hub, through ``datasets``; their code is never run."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from retain.data.files import Row
from retain.errors import DataError


def revision(name: str) -> str:
    """The commit that ``NAME`` or ``NAME:CONFIG`` means now: the hub's, or offline the cached one.

    Raises:
        DataError: If the hub cannot be asked and nothing is cached, or it has no such data set.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError

    # whichever HTTP library this hub client stands on; what it raises need not be an OSError
    transport: type[BaseException] = next(
        kind
        for kind in HfHubHTTPError.__mro__
        if issubclass(kind, BaseException) and kind.__name__ == "HTTPError"
    )
    repository = name.partition(":")[0]
    try:
        found = HfApi().dataset_info(repository, timeout=20).sha
    except RepositoryNotFoundError as error:
        text = f"{name}: no such file here, and no such data set on the hub (or it needs a login)"
        raise DataError(text) from error
    except (OfflineModeIsEnabled, transport, HfHubHTTPError, OSError) as error:
        if cached := cached_revision(repository):
            return cached
        raise DataError(_offline(name)) from error
    assert found is not None, "the hub names a commit for every data set"
    return found


def identity(name: str) -> dict[str, str]:
    """``{label: sha256}`` of the commit that would be read."""
    commit = revision(name)
    return {name: sha256(f"hub:{name}@{commit}".encode()).hexdigest()}


def read_hub(name: str) -> Iterator[Row]:
    """Rows of every split, each with its split's name in the column ``split``.

    Raises:
        DataError: If it cannot be reached and is not cached, or needs its own code to load.
    """
    from datasets import load_dataset

    repository, _, config = name.partition(":")
    commit = revision(name)
    try:
        splits = load_dataset(repository, config or None, revision=commit)
    except (ConnectionError, FileNotFoundError) as error:
        raise DataError(_offline(name)) from error
    except (ValueError, RuntimeError) as error:
        raise DataError(f"{name}: the data set cannot be loaded: {error}") from error
    for split, rows in splits.items():
        for number, values in enumerate(rows, start=1):
            yield Row(f"{name} {split} row {number}", values | {"split": str(split)})


def cached_revision(name: str) -> str | None:
    """The commit of ``NAME`` or ``NAME:CONFIG`` that is cached; None where none is."""
    from huggingface_hub.constants import HF_HUB_CACHE

    repository = name.partition(":")[0]
    reference = Path(HF_HUB_CACHE) / f"datasets--{repository.replace('/', '--')}" / "refs" / "main"
    return reference.read_text().strip() if reference.is_file() else None


def _offline(name: str) -> str:
    repository = name.partition(":")[0]
    return (
        f"{name}: no such file here, and the hub cannot be reached. Go online (unset "
        f"HF_HUB_OFFLINE) once, or elsewhere run `hf download {repository} --repo-type dataset "
        "--local-dir DIR` and give DIR instead."
    )
