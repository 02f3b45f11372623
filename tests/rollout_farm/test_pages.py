"""Memory that forked children find mapped: it says the same as before, and faults are rare."""

import platform
import subprocess
import sys
from collections.abc import Mapping

import pytest

from rollout_farm import pages
from rollout_farm.slot import ENVIRONMENT, ROOT

_HOLD = """
import ctypes, math, zlib
from rollout_farm import pages

def code():
    return [m for m in pages.read_mappings(pages.open_mappings()) if m.mode == "r-xp"
            and m.path.startswith("/")]

before = code()
sums = [zlib.crc32(ctypes.string_at(m.start, m.end - m.start)) for m in before]
pages.hold_libraries(pages.read_mappings(pages.open_mappings()))
assert sums == [zlib.crc32(ctypes.string_at(m.start, m.end - m.start)) for m in before]
for address in (before[0].start, before[-1].end - 1):
    [now] = [m for m in pages.read_mappings(pages.open_mappings()) if m.start <= address < m.end]
    assert (now.path, now.mode) == ("", "r-xp"), now
print(len(before), len(code()), math.sqrt(16.0))
"""
_RESERVE = """
import ctypes, os, resource, sys
from rollout_farm import pages

c = ctypes.CDLL(None)
c.malloc.restype, c.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
c.free.argtypes = [ctypes.c_void_p]
blocks = [c.malloc(3000) for _ in range(2000)]
for block in blocks:
    ctypes.memset(block, 1, 3000)
for block in blocks[::2]:
    c.free(block)  # a thousand holes
if sys.argv[1] == "reserved":
    pages.reserve_heap(16 << 20)
if (child := os.fork()) == 0:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(1000):
        ctypes.memset(c.malloc(2900), 2, 2900)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""

_COLLAPSE = """
import os, re
from rollout_farm import pages

texts = [f"text {number}" for number in range(200_000)]
heap = [m for m in pages.read_mappings(pages.open_mappings()) if m.path == pages.HEAP]
inside = sum(any(m.start <= id(text) < m.end for m in heap) for text in texts)
for mapping in heap:
    pages.collapse(mapping.start, mapping.end)
huge_kb = 0
for part in re.split(r"(?m)^(?=[0-9a-f]+-)", open("/proc/self/smaps").read()):
    if part.partition(chr(10))[0].endswith(pages.HEAP):
        huge_kb += int(re.search(r"AnonHugePages: +([0-9]+)", part)[1])
if (child := os.fork()) == 0:
    texts[:] = [text + " of the child" for text in texts]
    os._exit(0)
os.waitpid(child, 0)
same = texts == [f"text {number}" for number in range(200_000)]
print(inside, huge_kb, int(same))
"""


def _run(
    program: str, *arguments: str, environment: Mapping[str, str] | None = None
) -> list[float]:
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [float(word) for word in done.stdout.split()]


@pytest.fixture(autouse=True)
def huge_pages() -> None:
    if not pages.read_mappings(pages.open_mappings()):
        pytest.skip("this kernel gives no huge pages")


def test_libraries_say_the_same_from_anonymous_memory():
    num_before, num_after, root = _run(_HOLD)
    assert num_before > 5
    assert num_after == 0
    assert root == 4.0


def test_child_allocates_from_fresh_huge_pages_and_not_from_holes():
    [with_holes], [reserved] = _run(_RESERVE, "plain"), _run(_RESERVE, "reserved")
    assert with_holes > 700
    assert reserved < 0.3 * with_holes


@pytest.mark.skipif(
    tuple(map(int, platform.release().split(".")[:2])) < (6, 1), reason="needs Linux 6.1"
)
def test_python_s_memory_lies_in_huge_pages_that_children_copy_in_part():
    num_inside, huge_kb, is_same = _run(_COLLAPSE, environment={**ENVIRONMENT, "PYTHONPATH": ROOT})
    assert num_inside > 0.9 * 200_000
    assert huge_kb >= 8 * 1024
    assert is_same
