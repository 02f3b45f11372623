"""A zygote while its child lives: it waits inside `fork`, and its large pages stay whole."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mdx.lammps.run import RunLimits, RunRequest
from rollout_farm import pages
from rollout_farm.slot import Slot

_HELD = """
import os, signal, sys, time
from rollout_farm import libc

signals = (signal.SIGCHLD, signal.SIGALRM)
libc.hold_forks_until(signals)
for seconds, alarm_s in ((0.3, 0), (0.3, 0), (30.0, 0.2)):
    libc.forget_signals(signals)
    signal.setitimer(signal.ITIMER_REAL, alarm_s)
    child = libc.fork()
    if child == 0:
        time.sleep(seconds)
        os._exit(7)
    ended, status = os.waitpid(child, os.WNOHANG)
    print(int(ended == child), os.waitstatus_to_exitcode(status))
    if not ended:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
"""
_SCRIPTS = ("units lj\n", "units lj\nnonsense\n", "quit\n")


def test_fork_returns_to_its_parent_when_a_signal_has_come():
    command = [sys.executable, "-c", _HELD]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1", "7", "1", "7", "0", "0"]


@pytest.mark.skipif(os.geteuid() != 0, reason="a zygote's memory is shown to root alone")
def test_large_pages_stay_whole_however_a_script_ends():
    if not pages.read_mappings(pages.open_mappings()):
        pytest.skip("this kernel gives no huge pages")
    slot = Slot()
    try:
        zygote = _innermost(slot.pid)
        slot.run(RunRequest(script="units lj\n"))
        before = _huge_heap_kb(zygote)
        for script in _SCRIPTS:
            slot.run(RunRequest(script=script))
        endless = "label a\njump SELF a\n"
        slot.run(RunRequest(script=endless, limits=RunLimits(wall_time_s=0.3)))
        assert before >= 4 * 1024
        slot.run(RunRequest(script="units lj\n"))  # the zygote tidied up before it
        assert _huge_heap_kb(zygote) == before
    finally:
        slot.close()


def _innermost(pid: int) -> int:
    """Return the last descendant of a process: the zygote behind its guard."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return _innermost(int(children[-1])) if children else pid


def _huge_heap_kb(pid: int) -> int:
    parts = re.split(r"(?m)^(?=[0-9a-f]+-)", Path(f"/proc/{pid}/smaps").read_text())
    heaps = [part for part in parts if part.partition("\n")[0].endswith(pages.HEAP)]
    found = [re.search(r"AnonHugePages: +([0-9]+)", part) for part in heaps]
    return sum(int(match[1]) for match in found if match)
