"""What identifies a task's data, and whether it still is what the run was planned with.

A spec's keys that start with ``at_`` are places on this machine; its identity is the rest, so that
moving a file changes nothing and editing it changes everything.
"""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from glob import glob, has_magic
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

from retain.embedded import cache_dir
from retain.errors import DataError, TaskError
from retain.evaluate.task_files import TaskFile

PLACE = "at_"
BUILDERS = frozenset(
    {
        "arrow",
        "audiofolder",
        "conll",
        "csv",
        "eval",
        "fasta",
        "fastq",
        "genbank",
        "harbor",
        "hdf5",
        "iceberg",
        "imagefolder",
        "json",
        "lance",
        "meshfolder",
        "mmcif",
        "niftifolder",
        "pandas",
        "parquet",
        "pdb",
        "pdffolder",
        "text",
        "tsfile",
        "videofolder",
        "vortex",
        "webdataset",
        "xml",
    }
)  # of datasets: they read files
HUB_FILE = "hf://datasets/"


def identity_of(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A spec without its places.

    >>> identity_of({"name": "sums", "at_data": "/home/me/sums.jsonl"})
    {'name': 'sums'}
    """
    return {key: value for key, value in spec.items() if not key.startswith(PLACE)}


def same_identity(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two specs mean the same task, wherever its files lie."""
    left, right = (json.dumps(identity_of(spec), sort_keys=True) for spec in (one, other))
    return left == right


def own_sha256(data: str) -> str:
    """One hash over a test of one's own; names count only where they tell several files apart."""
    from retain.data.sources import identity

    found = identity(data)
    if len(found) == 1:
        ((label, digest),) = found.items()
        found = {label.partition("#")[2]: digest}
    return sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def task_data(file: TaskFile, config: Mapping[str, Any]) -> dict[str, Any]:
    """``data_sha256`` of the local files a task reads, ``data_revisions`` of the hub's data sets.

    A revision that is not known is None.

    Raises:
        TaskError: If its file names a local file that is not there.
    """
    facts: dict[str, Any] = {}
    local = [[split, label, _sha256(path)] for split, label, path in local_files(file.name, config)]
    if local:
        facts["data_sha256"] = sha256(json.dumps(local).encode()).hexdigest()
    hub = {name: _revision(name) for name in sorted({*_hub_names(config)})}
    return facts | ({"data_revisions": hub} if hub else {})


def check_unchanged(spec: Mapping[str, Any]) -> None:
    """What will be read must be what the spec says.

    Raises:
        DataError: If a file changed since.
    """
    if spec["kind"] == "own":
        assert "at_data" in spec, "a test of one's own needs its place: pass the whole spec"
        if own_sha256(spec["at_data"]) != spec["data_sha256"]:
            raise _changed(spec["at_data"])
        return
    file = TaskFile.of(spec)
    text = file.read()
    if text.sha256 != spec["sha256"]:
        raise _changed(file.location)
    if file.root == "retain":
        return  # embedded data is checked against its table when it is opened
    found = [
        [split, label, _sha256(path)] for split, label, path in local_files(file.name, text.config)
    ]
    now = sha256(json.dumps(found).encode()).hexdigest() if found else None
    if now != spec.get("data_sha256"):
        raise _changed(f"the data of {file.location}")


def hub_repository(config: Mapping[str, Any]) -> str | None:
    """The data set of the hub that ``dataset_path`` names, if it does."""
    path = config.get("dataset_path")
    if not isinstance(path, str) or config.get("custom_dataset") or "class" in config:
        return None
    return None if path in BUILDERS or Path(path).exists() else path


def _changed(what: object) -> DataError:
    return DataError(f"{what}: changed since the run was planned; start the run again")


def local_files(name: str, config: Mapping[str, Any]) -> Iterator[tuple[str, str, Path]]:
    """Split, name and path of every local file, resolved as ``datasets.load_dataset`` does."""
    options = config.get("dataset_kwargs") or {}
    path = config.get("dataset_path")
    on_hub = hub_repository(config) is not None
    folder = isinstance(path, str) and path not in BUILDERS and Path(path).is_dir()
    base = Path(str(path) if folder else "", options.get("data_dir") or "").expanduser()
    if options.get("data_files") is None:
        if folder or (options.get("data_dir") and not on_hub):
            for found in sorted(one for one in base.rglob("*") if one.is_file()):
                yield "", found.relative_to(base).as_posix(), found
        return
    for split, pattern in _patterns(config):
        local = pattern.rpartition("::")[2]
        if "://" in local or (on_hub and not Path(local).is_absolute()):
            continue
        where = base / Path(local).expanduser()
        files = sorted(Path(one) for one in glob(str(where), recursive=True)) or [where]
        for found in files:
            if found.is_dir() and has_magic(local):
                continue
            if not found.is_file():
                raise TaskError(
                    f"task '{name}': dataset_kwargs.data_files: {found.absolute()} is not there "
                    "(datasets reads it relative to the folder you are in)"
                )
            yield split, found.name, found


def _patterns(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Split and pattern of each of ``data_files``, in whichever form they are written."""
    given = (config.get("dataset_kwargs") or {}).get("data_files") or []
    parts: list[tuple[str, Any]] = (
        list(given.items()) if isinstance(given, Mapping) else [("train", given)]
    )
    for split, value in parts:
        for one in value if isinstance(value, list) else [value]:
            if not isinstance(one, Mapping):
                yield str(split), str(one)
                continue
            paths = one.get("path")
            for path in paths if isinstance(paths, list) else [paths]:
                yield str(one.get("split")), str(path)


def _hub_names(config: Mapping[str, Any]) -> Iterator[str]:
    """Data sets of the hub, and addresses whose content nothing says."""
    if repository := hub_repository(config):
        yield repository
    for _, pattern in _patterns(config):
        remote = pattern.rpartition("::")[2]
        if remote.startswith(HUB_FILE):
            yield "/".join(remote.removeprefix(HUB_FILE).split("/")[:2])
        elif "://" in remote:
            yield remote


@cache
def _revision(name: str) -> str | None:
    """The commit of a data set, asked once a process, or remembered from when it could be asked."""
    if "://" in name:
        return None
    from retain.data.hub import revision
    from retain.model.reference import memorise, recall

    memo = cache_dir() / "hub" / f"{sha256(name.encode()).hexdigest()}.json"
    try:
        commit = revision(name)
    except DataError:  # not reached, or no such data set; the task's note says so
        remembered = recall(memo).get("revision")
        return remembered if isinstance(remembered, str) else None
    memorise(memo, {"repository": name, "revision": commit})
    return commit


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest()
