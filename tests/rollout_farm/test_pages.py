"""Memory that forked children find mapped: it says the same as before, and faults are rare."""

import platform
import subprocess
import sys
from collections.abc import Mapping

import pytest

from rollout_farm import pages
from rollout_farm.slot import ENVIRONMENT, ROOT

_HOLD = """
import ctypes, decimal, math, zlib
from rollout_farm import pages

listing = pages.open_mappings()

def code():
    return [m for m in pages.read_mappings(listing) if m.mode == "r-xp" and m.path[:1] == "/"]

def place(name, mappings):
    [found] = [m for m in mappings if name in m.path]
    return found.start

before = code()
used, unused = place("/libc.so", before), place("/_decimal.", before)
pages.forget_code(pages.read_mappings(listing))
sums = [zlib.crc32(ctypes.string_at(m.start, m.end - m.start)) for m in before if m.start != unused]
pages.hold_libraries(pages.read_mappings(listing))
assert sums == [
    zlib.crc32(ctypes.string_at(m.start, m.end - m.start)) for m in before if m.start != unused
]
for address, path in ((used, ""), (unused, "/memfd:code (deleted)")):
    [now] = [m for m in pages.read_mappings(listing) if m.start <= address < m.end]
    assert (now.path, now.mode) == (path, "r-xp"), now
print(len(before), len(code()), math.sqrt(16.0), decimal.Decimal(2).sqrt())
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
# An object that dies between malloc's large block and its release, and whose memory lies right
# before that block, moves the beginning of what is free: the heap is to stay whole.
_DIES_BETWEEN = """
import ctypes
from rollout_farm import pages

c = pages._memory_calls()

class Between:
    def __getattr__(self, name):
        return getattr(c, name)

    def malloc(self, size):
        if size < 8 << 20:
            return c.malloc(size)
        end, last = c.sbrk(0) - c.mallinfo2().keepcost, (ctypes.c_void_p * 9)()
        while c.malloc(100) < end:
            pass
        for number in range(9):  # these lie at the end
            last[number] = c.malloc(100)
        block = c.malloc(size)
        assert 0 < block - last[8] < 200
        for address in last:  # malloc keeps seven of a size apart and joins the others
            c.free(address)
        return block

between = Between()
pages._memory_calls = lambda: between
start = pages.reserve_heap(16 << 20)
assert start
blocks = [c.malloc(1 << size % 20) for size in range(400)]
for block in blocks:
    ctypes.memset(block, 7, 1)
    c.free(block)
print(int(max(blocks) > start))
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


def test_libraries_say_the_same_from_anonymous_memory_and_unused_ones_from_a_file():
    num_before, num_after, four, root = _run(_HOLD)
    assert num_before > 5
    assert num_after == 1
    assert (four, root) == (4.0, 2**0.5)


def test_child_allocates_from_fresh_huge_pages_and_not_from_holes():
    [with_holes], [reserved] = _run(_RESERVE, "plain"), _run(_RESERVE, "reserved")
    assert with_holes > 700
    assert reserved < 0.3 * with_holes


def test_heap_stays_whole_when_an_object_dies_at_its_end_while_it_is_reserved():
    assert _run(_DIES_BETWEEN) == [1.0]


@pytest.mark.skipif(
    tuple(map(int, platform.release().split(".")[:2])) < (6, 1), reason="needs Linux 6.1"
)
def test_python_s_memory_lies_in_huge_pages_that_children_copy_in_part():
    num_inside, huge_kb, is_same = _run(_COLLAPSE, environment={**ENVIRONMENT, "PYTHONPATH": ROOT})
    assert num_inside > 0.9 * 200_000
    assert huge_kb >= 8 * 1024
    assert is_same
