"""What control groups leave a process, in folders made like those of the kernel."""

from __future__ import annotations

from pathlib import Path

from hybrid_fast.common.control_groups import free_in_groups

GIB = 2**30
NO_LIMIT_OF_VERSION_1 = 9223372036854771712


def write(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("memory_", "memory.")).write_text(f"{content}\n")


def free(root: Path, memberships: str) -> int | None:
    (root / "memberships").write_text(memberships)
    return free_in_groups(root, root / "memberships")


def test_pages_of_files_that_the_kernel_can_drop_are_free(tmp_path):
    stat = f"anon {GIB}\ninactive_file {12 * GIB}\nactive_file {GIB}"
    write(tmp_path, memory_max=16 * GIB, memory_current=14 * GIB, memory_stat=stat)
    assert free(tmp_path, "0::/\n") == 14 * GIB


def test_version_1_has_other_names(tmp_path):
    stat = f"inactive_file 5\ntotal_inactive_file {2 * GIB}"
    memory = tmp_path / "memory"
    write(
        memory / "a" / "b",
        memory_limit_in_bytes=8 * GIB,
        memory_usage_in_bytes=5 * GIB,
        memory_stat=stat,
    )
    write(
        memory,
        memory_limit_in_bytes=NO_LIMIT_OF_VERSION_1,
        memory_usage_in_bytes=50 * GIB,
        memory_stat=stat,
    )
    assert free(tmp_path, "12:pids:/a\n4:cpu,memory:/a/b\n0::/\n") == 5 * GIB


def test_groups_above_count_too(tmp_path):
    write(tmp_path / "job" / "step", memory_max="max", memory_current=GIB)
    write(tmp_path / "job", memory_max=4 * GIB, memory_current=3 * GIB)
    write(tmp_path, memory_max="max", memory_current=60 * GIB)
    assert free(tmp_path, "0::/job/step\n") == GIB
    write(tmp_path / "job" / "step", memory_max="max", memory_high=1.5 * GIB, memory_current=GIB)
    write(tmp_path / "job" / "step", memory_high=GIB + 7)
    assert free(tmp_path, "0::/job/step\n") == 7


def test_a_container_that_sees_its_group_as_the_topmost(tmp_path):
    write(tmp_path, memory_max=2 * GIB, memory_current=GIB)
    assert free(tmp_path, "0::/docker/0123abcd\n") == GIB
    assert free(tmp_path, "0::/../other\n") == GIB


def test_a_hybrid_machine_has_version_2_in_a_folder_of_its_own(tmp_path):
    write(tmp_path / "unified" / "a", memory_max=2 * GIB, memory_current=GIB)
    assert free(tmp_path, "0::/a\n") == GIB


def test_a_group_beyond_its_limit_has_nothing_left(tmp_path):
    write(tmp_path, memory_max=GIB, memory_current=2 * GIB, memory_stat="inactive_file 0")
    assert free(tmp_path, "0::/\n") == 0


def test_without_a_limit_or_control_groups(tmp_path):
    write(tmp_path, memory_max="max", memory_current=GIB)
    assert free(tmp_path, "0::/\n") is None
    assert free(tmp_path, "") is None
    assert free_in_groups(tmp_path, tmp_path / "none") is None
