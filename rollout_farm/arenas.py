"""Python's memory and malloc's in one stretch, so that `pages.collapse` finds it in one piece.

A fork copies, and the child's end gives back, each page of a zygote on its own: for the ten
megabytes that Python's modules take that is half a millisecond a script. Pages of one huge page are
handled together, even when a child has copied some of them, but Python takes its arenas from
mappings of 1 MiB, in which no huge page has room. Here they come from malloc, and malloc takes them
from the heap. It must happen before anything else is imported; hence a module of its own.
"""

import ctypes

_M_MMAP_THRESHOLD = -3
_LARGEST_BLOCK = 32 << 20  # glibc's own limit for a threshold


class _ArenaAllocator(ctypes.Structure):
    """CPython's PyObjectArenaAllocator (Include/cpython/objimpl.h)."""

    _fields_ = (
        ("context", ctypes.c_void_p),
        ("alloc", ctypes.c_void_p),  # (context, size) -> block
        ("free", ctypes.c_void_p),  # (context, block, size)
    )


def gather() -> None:
    """Have Python and malloc allocate from the heap from here on; elsewhere than glibc, nothing.

    Arenas are then never given back: a zygote frees nothing that is worth it.
    """
    c = ctypes.CDLL(None)
    if not (hasattr(c, "mallopt") and hasattr(ctypes.pythonapi, "PyObject_SetArenaAllocator")):
        return
    c.mallopt(_M_MMAP_THRESHOLD, ctypes.c_int(_LARGEST_BLOCK))
    # realloc(NULL, size) has the very arguments of an arena's allocation; sched_yield ignores any
    alloc, free = (ctypes.cast(f, ctypes.c_void_p) for f in (c.realloc, c.sched_yield))
    allocator = _ArenaAllocator(None, alloc, free)
    ctypes.pythonapi.PyObject_SetArenaAllocator(ctypes.byref(allocator))
