"""Memory laid out so that forked children find it mapped: fewer page faults for every script.

A fork copies the page tables of anonymous memory and not those of files: a child takes a fault for
every 64 KiB of code that it runs, and pays again at its end. So a zygote holds what is never
written of its libraries in anonymous pages of 2 MiB (`hold_libraries`), and what Python and malloc
hold, too (`collapse`). And what LAMMPS allocates in a child is to be fresh:
malloc would hand out the holes that the zygote's start left, each page of which is a copy, so they
are filled, and malloc serves from new pages of 2 MiB (`reserve_heap`).

Where the kernel or the C library cannot do it, nothing changes but the speed. Linux, glibc.
"""

import ctypes
import functools
import itertools
import mmap
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass

HEAP = "[heap]"
_HUGE_PAGE = 2 << 20
_POLICY = "/sys/kernel/mm/transparent_hugepage/enabled"
_MAP_FAILED = ctypes.c_void_p(-1).value
_READ_WRITE = mmap.PROT_READ | mmap.PROT_WRITE
_MADV_DONTNEED, _MADV_HUGEPAGE, _MADV_COLLAPSE = 4, 14, 25
_MREMAP_MAYMOVE, _MREMAP_FIXED = 1, 2
_READ_ONLY, _CODE = "r--p", "r-xp"
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+ *(.*)")
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_SMALL_PAGES = 160 << 10  # for the parent's own passing needs, which would break up a huge page
_LARGEST_HOLE = 1 << 20
_SMALLEST_HOLE = 32
_TAKEN_ONE_BY_ONE = 2048  # smaller holes are kept by their exact sizes


@dataclass(frozen=True, kw_only=True)
class Mapping:
    """A stretch of this process's memory."""

    start: int
    end: int
    mode: str
    path: str  # empty for anonymous memory


def open_mappings() -> int | None:
    """Return a descriptor that lists this process's memory, wherever its root is later.

    None where the kernel gives no huge pages or hides itself: small ones would only cost time.
    """
    try:
        with open(_POLICY, encoding="ascii") as policy:
            if "[never]" in policy.read():
                return None
        return os.open("/proc/self/maps", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


def read_mappings(descriptor: int | None) -> list[Mapping]:
    """Return what the descriptor lists now, and close it; nothing for None."""
    if descriptor is None:
        return []
    with os.fdopen(descriptor) as lines:
        found = [match for line in lines.read().splitlines() if (match := _MAPPING.match(line))]
    return [Mapping(start=int(m[1], 16), end=int(m[2], 16), mode=m[3], path=m[4]) for m in found]


def hold_libraries(mappings: Iterable[Mapping]) -> None:
    """Put anonymous memory in the place of what is never written of libraries, the code included.

    Addresses and content stay. The constants that lie beside code become executable with it:
    one stretch for each library forks faster than four.
    """
    fixed = [m for m in mappings if m.mode in (_READ_ONLY, _CODE) and m.path.startswith("/")]
    whole, pieces = [], []
    for _, stretch in itertools.groupby(_numbered(fixed), key=lambda pair: pair[0]):
        parts = [part for _, part in stretch]
        if any(part.mode == _CODE for part in parts):
            start, end = parts[0].start, parts[-1].end
            first, last = -(-start // _HUGE_PAGE) * _HUGE_PAGE, end // _HUGE_PAGE * _HUGE_PAGE
            if last > first:
                whole.append((first, last))
                pieces += [(start, first), (last, end)]
            else:
                pieces.append((start, end))
    for stretches in (whole, pieces):
        _replace([(start, end) for start, end in stretches if end > start])


def _numbered(mappings: list[Mapping]) -> Iterable[tuple[int, Mapping]]:
    """Give the parts of one library that touch each other the same number."""
    number, end, path = 0, 0, ""
    for mapping in mappings:
        number += mapping.start != end or mapping.path != path
        end, path = mapping.end, mapping.path
        yield number, mapping


def _replace(stretches: list[tuple[int, int]]) -> None:
    """Copy stretches of memory, one behind the other, into huge pages, and move those there."""
    c = _memory_calls()
    room = sum(end - start for start, end in stretches) + 2 * _HUGE_PAGE
    base = c.mmap(None, room, _READ_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    if base == _MAP_FAILED:
        return
    copy = first = -(-base // _HUGE_PAGE) * _HUGE_PAGE
    c.madvise(base, room, _MADV_HUGEPAGE)
    for start, end in stretches:
        ctypes.memmove(copy, start, end - start)
        copy += end - start
    if c.mprotect(first, copy - first, mmap.PROT_READ | mmap.PROT_EXEC) == 0:
        copy = first
        for start, end in stretches:
            c.mremap(copy, end - start, end - start, _MREMAP_MAYMOVE | _MREMAP_FIXED, start)
            copy += end - start
        c.munmap(base, first - base)
        c.munmap(copy, base + room - copy)
    else:
        c.munmap(base, room)


def collapse(start: int, end: int) -> None:
    """Put what lies between two addresses into huge pages (Linux 6.1 and later).

    A child that writes to one copies 4 KiB of it, not all, and what is left forks as one piece.
    Where little lies, single pages are fewer.
    """
    c = _memory_calls()
    num_pages = _HUGE_PAGE // mmap.PAGESIZE
    is_there = (ctypes.c_ubyte * num_pages)()
    for page in range(-(-start // _HUGE_PAGE) * _HUGE_PAGE, end - _HUGE_PAGE + 1, _HUGE_PAGE):
        if c.mincore(page, _HUGE_PAGE, is_there) == 0 and sum(is_there) > num_pages // 8:
            c.madvise(page, _HUGE_PAGE, _MADV_COLLAPSE)


def reserve_heap(num_bytes: int) -> int:
    """Have malloc serve what is allocated from here on out of fresh pages of 2 MiB.

    Returns where they begin, 0 where nothing was done (elsewhere than glibc). Nothing is touched
    yet. Children that fill a few megabytes then take a handful of page faults in place of a
    thousand, two microseconds each.
    """
    c = _memory_calls()
    if not hasattr(c, "mallopt"):
        return 0
    for option, value in (
        (_M_MMAP_THRESHOLD, num_bytes),
        (_M_TRIM_THRESHOLD, 4 * num_bytes),
        (_M_TOP_PAD, num_bytes),
    ):
        c.mallopt(option, ctypes.c_int(value))
    block = c.malloc(num_bytes - _HUGE_PAGE)  # of the heap, not a mapping of its own
    c.free(block)
    _fill_holes(block)
    # where `_fill_holes` looked there are small pages already
    start = -(-(block + _LARGEST_HOLE + _SMALL_PAGES) // _HUGE_PAGE) * _HUGE_PAGE
    c.malloc(start - block - _SMALL_PAGES)  # for ever
    c.madvise(start, num_bytes // _HUGE_PAGE * _HUGE_PAGE, _MADV_HUGEPAGE)
    return start


def _fill_holes(end: int) -> None:
    """Allocate, for ever, what malloc has free below `end`, and give those pages back."""
    c, size = _memory_calls(), _LARGEST_HOLE
    while size >= _SMALLEST_HOLE:
        hole = c.malloc(size)
        while hole and hole < end:
            first = -(-hole // mmap.PAGESIZE) * mmap.PAGESIZE
            last = (hole + size) // mmap.PAGESIZE * mmap.PAGESIZE
            if last > first:
                c.madvise(first, last - first, _MADV_DONTNEED)
            hole = c.malloc(size)
        c.free(hole)
        size = size // 2 if size > _TAKEN_ONE_BY_ONE else size - 16


@functools.cache
def _memory_calls() -> ctypes.CDLL:
    """Return the C library with the signatures that are used here."""
    c = ctypes.CDLL(None)
    pointer, size, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    signatures: dict[str, tuple[object, list[object]]] = {
        "mmap": (pointer, [pointer, size, number, number, number, ctypes.c_long]),
        "mremap": (pointer, [pointer, size, size, number, pointer]),
        "munmap": (number, [pointer, size]),
        "madvise": (number, [pointer, size, number]),
        "mincore": (number, [pointer, size, pointer]),
        "mprotect": (number, [pointer, size, number]),
        "malloc": (pointer, [size]),
        "free": (None, [pointer]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(c, name)
        function.restype, function.argtypes = result, arguments
    return c
