"""Control groups bound a slot's processes and memory together; what cannot be made is said."""

import subprocess
import sys
from pathlib import Path

import pytest

from mdx.lammps.run import RunLimits, RunRequest, RunStatus
from rollout_farm import cgroups
from rollout_farm.cgroups import Cgroup
from rollout_farm.outcome import to_result
from rollout_farm.slot import Slot

needs_cgroups = pytest.mark.skipif(
    cgroups.why_not() is not None, reason=f"no control group can be made: {cgroups.why_not()}"
)
FORKS = """
import os, sys, time
sys.stdin.readline()
children = 0
try:
    for _ in range(50):
        if os.fork() == 0:
            time.sleep(30)
            os._exit(0)
        children += 1
except OSError:
    pass
print(children, flush=True)
os.killpg(0, 9)
"""
HOG = "import sys; sys.stdin.readline(); x = bytearray(b'x') * (400 << 20); print('held')"


def _in_group(code: str, limits: RunLimits) -> tuple[str, int, int]:
    """Run Python code in a group; return its output, its exit status and how many were killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    group = Cgroup(process.pid)
    try:
        group.allow(limits)
        output, _ = process.communicate("go\n", timeout=60)
        return output, process.returncode, group.num_kills
    finally:
        group.close()


def _groups() -> list[Path]:
    return [path for parent in set(cgroups._parents().values()) for path in parent.glob("mdx-*-*")]


@needs_cgroups
def test_fork_bomb_ends_at_the_limit():
    output, _, _ = _in_group(FORKS, RunLimits())
    assert int(output) == 7  # and itself


@needs_cgroups
def test_memory_is_bounded_and_the_kill_is_seen():
    small = RunLimits(memory_bytes=1 << 20, output_bytes=1 << 20)
    output, code, kills = _in_group(HOG, small)
    assert (output, code) == ("", -9)
    assert kills >= 1
    large = RunLimits(memory_bytes=512 << 20)
    assert _in_group(HOG, large) == ("held\n", 0, 0)


@needs_cgroups
def test_slot_lives_in_a_group_that_goes_with_it():
    before = _groups()
    slot = Slot()
    try:
        assert slot.hello.layers[-1] == "cgroup"
        assert len(_groups()) > len(before)
        request = RunRequest(script="units lj\n")
        result = to_result(request, slot.run(request), queue_s=0.0, hello=slot.hello)
        assert result.status is RunStatus.OK
        assert "cgroup" in result.sandbox
    finally:
        slot.close()
    assert _groups() == before


def test_slot_without_a_group_says_why():
    slot = Slot(without=["cgroup"])
    slot.close()
    assert "cgroup" not in slot.hello.layers
    assert slot.hello.missing["cgroup"] == "left out by request"


@needs_cgroups
def test_groups_of_killed_workers_are_removed():
    [*parents] = set(cgroups._parents().values())
    stale = [parent / "mdx-slot-999999999-0" for parent in parents]
    for folder in stale:
        folder.mkdir()
    cgroups._remove_stale()
    assert not any(folder.exists() for folder in stale)
