"""Memory: whether an error says that it ran out, on any device; how much of the CPU's is free."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

CPU_WORDS = ("can't allocate memory", "not enough memory", "out of memory")


class _Names(NamedTuple):
    """Where a version of Linux's control groups keeps a group's limit, and what is used of it."""

    controller: str
    mounted: str
    limit: str
    used: str
    reclaimable: str


GROUPS = (
    _Names("", "", "memory.max", "memory.current", "inactive_file"),
    _Names(
        controller="memory",
        mounted="memory",
        limit="memory.limit_in_bytes",
        used="memory.usage_in_bytes",
        reclaimable="total_inactive_file",
    ),
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out; on a CPU and on MPS torch raises a plain ``RuntimeError``.

    >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: 4 bytes"))
    True
    >>> is_out_of_memory(RuntimeError("shapes do not match"))
    False
    """
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in CPU_WORDS)


def free_bytes(processes: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> int:
    """CPU memory that can be taken now: of the machine, and of the container's limit.

    Args:
        processes: Where the kernel tells which control groups this process is in.
        groups: Where it tells of the groups.
    """
    of_machine = int(psutil.virtual_memory().available)
    return min([of_machine, *_left_in_groups(processes, groups)])


def _left_in_groups(processes: Path, groups: Path) -> Iterator[int]:
    """What each group above this process still allows; nothing where there are no groups."""
    try:
        lines = (processes / "self" / "cgroup").read_text("utf-8").splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, place = line.split(":", 2)
        for names in GROUPS:
            if names.controller in controllers.split(","):
                mounted = groups / names.mounted
                inside = Path(place).relative_to("/")
                for folder in (inside, *inside.parents):
                    yield from _left(mounted / folder, names)


def _left(group: Path, names: _Names) -> Iterator[int]:
    """A group's limit less its use; files it merely read do not count, the kernel drops them."""
    try:
        limit = int((group / names.limit).read_text("utf-8"))
        used = int((group / names.used).read_text("utf-8"))
        lines = (group / "memory.stat").read_text("utf-8").splitlines()
    except (OSError, ValueError):  # no such group in this container, or no limit (`max`)
        return
    stat = dict(line.split() for line in lines)
    yield max(0, limit - used + int(stat.get(names.reclaimable, 0)))
