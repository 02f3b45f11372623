"""Memory laid out so that forked children find it mapped: fewer page faults for every script.

A fork copies the page tables of anonymous memory and not those of files: a child takes a fault for
every 64 KiB of code that it runs, and pays again at its end. So a zygote holds what is never
written of the libraries that children use in anonymous pages of 2 MiB (`hold_libraries`), and what
Python and malloc hold, too (`collapse`). And what LAMMPS allocates in a child is to be fresh:
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
_MAP_FIXED = 0x10
_MREMAP_MAYMOVE, _MREMAP_FIXED = 1, 2
_READ_ONLY, _CODE = "r--p", "r-xp"
_MAPPING = re.compile(
    r"^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+ *(.*)\n(?:\w+: .*\n)*?"
    r"Rss: +(\d+) kB\n(?:\w+: .*\n)*?Anonymous: +(\d+) kB\n",
    re.MULTILINE,
)
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_SMALL_PAGES = 512 << 10  # for the parent's own needs, and for what children use sparsely
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
    is_touched: bool  # whether some of it is in this process's page tables
    is_written: bool  # whether some of it is a copy of the file's


def open_mappings() -> int | None:
    """Return a descriptor that lists this process's memory, wherever its root is later.

    None where the kernel gives no huge pages or hides itself: small ones would only cost time.
    """
    try:
        with open(_POLICY, encoding="ascii") as policy:
            if "[never]" in policy.read():
                return None
        return os.open("/proc/self/smaps", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


def read_mappings(descriptor: int | None) -> list[Mapping]:
    """Return what the descriptor lists now; nothing for None."""
    if descriptor is None:
        return []
    os.lseek(descriptor, 0, os.SEEK_SET)
    with os.fdopen(descriptor, closefd=False) as lines:
        found = _MAPPING.findall(lines.read())
    return [
        Mapping(
            start=int(start, 16),
            end=int(end, 16),
            mode=mode,
            path=path,
            is_touched=touched_kb != "0",
            is_written=written_kb != "0",
        )
        for start, end, mode, path, touched_kb, written_kb in found
    ]


def forget_code(mappings: Iterable[Mapping]) -> None:
    """Take the code of libraries out of the page tables: what is used from now on comes back."""
    for m in mappings:
        if m.mode == _CODE and m.path.startswith("/") and not m.is_written:
            _memory_calls().madvise(m.start, m.end - m.start, _MADV_DONTNEED)


def hold_libraries(mappings: Iterable[Mapping]) -> None:
    """Put anonymous memory in the place of what is never written of libraries, the code included.

    Addresses and content stay. The constants that lie beside code become executable with it:
    one stretch for each library forks faster than four. Libraries whose code is not touched become
    one stretch, too, but of a file in memory, whose page tables no fork copies.
    """
    fixed = [m for m in mappings if m.mode in (_READ_ONLY, _CODE) and m.path.startswith("/")]
    whole, pieces, unused = [], [], []
    for _, stretch in itertools.groupby(_numbered(fixed), key=lambda pair: pair[0]):
        parts = [part for _, part in stretch]
        code = [part for part in parts if part.mode == _CODE]
        start, end = parts[0].start, parts[-1].end
        first, last = -(-start // _HUGE_PAGE) * _HUGE_PAGE, end // _HUGE_PAGE * _HUGE_PAGE
        if code and not any(part.is_touched for part in code):
            unused.append((start, end))
        elif code and last > first:
            whole.append((first, last))
            pieces += [(start, first), (last, end)]
        elif code:
            pieces.append((start, end))
    _put_into_file(unused)
    for stretches in (whole, pieces):
        _replace([(start, end) for start, end in stretches if end > start])


def _put_into_file(stretches: list[tuple[int, int]]) -> None:
    """Copy stretches of memory into one file in memory, and map them from there."""
    c, offset = _memory_calls(), 0
    descriptor = os.memfd_create("code", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        for start, end in stretches:
            file.write(ctypes.string_at(start, end - start))
        for start, end in stretches:
            mode, flags = mmap.PROT_READ | mmap.PROT_EXEC, mmap.MAP_PRIVATE | _MAP_FIXED
            c.mmap(start, end - start, mode, flags, descriptor, offset)  # denied: nothing changes
            offset += end - start


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

    Returns where they begin, 0 where nothing was done (elsewhere than glibc 2.33 or later).
    Nothing is touched yet. Children that fill a few megabytes then take a handful of page faults
    in place of a thousand, two microseconds each.
    """
    c = _memory_calls()
    if not hasattr(c, "mallinfo2"):
        return 0
    for option, value in (
        (_M_MMAP_THRESHOLD, num_bytes),
        (_M_TRIM_THRESHOLD, 4 * num_bytes),
        (_M_TOP_PAD, num_bytes),
    ):
        c.mallopt(option, ctypes.c_int(value))
    block = c.malloc(num_bytes - _HUGE_PAGE)  # of the heap, not a mapping of its own
    c.free(block)
    if block > c.sbrk(0):  # the heap could not grow in one piece
        return 0
    _fill_holes(_top())
    # where `_fill_holes` looked there are small pages already
    start = -(-(_top() + _LARGEST_HOLE + _SMALL_PAGES) // _HUGE_PAGE) * _HUGE_PAGE
    c.malloc(start - _SMALL_PAGES - _top())  # for ever
    if start <= _top():
        return 0
    num_fresh = (c.sbrk(0) - start) // _HUGE_PAGE * _HUGE_PAGE
    for advice in (_MADV_DONTNEED, _MADV_HUGEPAGE):  # what malloc left in passing breaks up a page
        c.madvise(start, num_fresh, advice)
    return start


def _top() -> int:
    """Return from where on malloc's heap is free up to its end, but for the 16 bytes that say so.

    That may lie below what was freed last: malloc joins it with free memory before it.
    """
    c = _memory_calls()
    return c.sbrk(0) - c.mallinfo2().keepcost


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


class _MallocInfo(ctypes.Structure):
    """What glibc's malloc holds: `struct mallinfo2`."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


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
        "sbrk": (pointer, [ctypes.c_ssize_t]),
        "mallinfo2": (_MallocInfo, []),
    }
    for name, (result, arguments) in signatures.items():
        if hasattr(c, name):
            function = getattr(c, name)
            function.restype, function.argtypes = result, arguments
    return c
