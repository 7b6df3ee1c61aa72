"""What can be taken: of the machine, and of the container's limit."""

import psutil
import pytest

from retain.model.memory import free_bytes

MB = 2**20


@pytest.fixture
def system(tmp_path):
    """Folders as the kernel shows them; call with the line of the process and the groups' files."""

    def make(line, files):
        (tmp_path / "proc" / "self").mkdir(parents=True)
        (tmp_path / "proc" / "self" / "cgroup").write_text(line + "\n")
        for name, content in files.items():
            path = tmp_path / "groups" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{content}\n")
        return free_bytes(tmp_path / "proc", tmp_path / "groups")

    return make


def test_without_groups_it_is_what_the_machine_has(tmp_path):
    free = psutil.virtual_memory().available
    assert free_bytes(tmp_path, tmp_path) == pytest.approx(free, rel=0.2)
    assert 0 < free_bytes() <= psutil.virtual_memory().total


def test_the_limit_of_a_container_counts_and_files_it_read_do_not(system):
    files = {
        "memory.max": "max",
        "box/memory.max": 100 * MB,
        "box/memory.current": 90 * MB,
        "box/memory.stat": f"anon 5\ninactive_file {30 * MB}",
        "box/in/memory.max": "max",
    }
    assert system("0::/box/in", files) == 40 * MB


def test_an_older_kernel_has_other_names(system):
    files = {
        "memory/memory.limit_in_bytes": 50 * MB,
        "memory/memory.usage_in_bytes": 60 * MB,
        "memory/memory.stat": "total_inactive_file 0",
    }
    assert system("4:memory:/gone\n0::/", files) == 0


def test_a_group_without_a_limit_is_none(system):
    whole = {"memory.max": "max", "memory.current": 5, "memory.stat": ""}
    assert system("0::/", whole) > MB
