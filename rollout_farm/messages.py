"""What a worker, its zygotes and their children say to each other.

A worker and a zygote talk over one SOCK_SEQPACKET pair, a packet a message; descriptors travel
with it, and bulk data that is too long for a packet in a memory file (memfd). The worker sends an
`Order` with the files that the child finds, attached an empty memory file for the log, which the
worker can read while the script runs; the zygote sends `Hello` once and a `Report` for each order.
The record in them was written by a process that ran a stranger's script, into memory that it
shared with its zygote and that has no name: it is read bounded and decoded, or refused.
"""

import contextlib
import os
import socket
import struct
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from mdx.lammps.run import Evidence, Output, RunLimits
from mdx.tasks.task import Potential

T = TypeVar("T")
SCRIPT_NAME = "in.lammps"
MAX_RECORD_BYTES = 4 << 20
MAX_OUTPUT_BYTES = 1 << 20  # of one file
MAX_OUTPUTS_BYTES = 4 << 20  # of all files of a run
MAX_OUTPUT_FILES = 256
_MAX_PACKET_BYTES = 1 << 16
_PREFIX = struct.Struct("=I?")  # bytes of the message; whether the bulk data has its own file
_MAX_INLINE_BYTES = _MAX_PACKET_BYTES - _PREFIX.size
_MAX_DESCRIPTORS = 4


@dataclass(frozen=True, kw_only=True)
class ZygoteSettings:
    """How a zygote is started. `without` names layers to leave out, as if the host lacked them."""

    channel: int  # descriptor of the socket to the worker
    scratch: str  # folder for this slot, made where namespaces are missing
    without: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Hello:
    """A zygote is ready: the layers that hold, and why the others do not."""

    layers: tuple[str, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)  # layer -> the probe that failed
    lammps_version: str = ""
    error: str | None = None  # why the zygote cannot serve at all


@dataclass(frozen=True, kw_only=True)
class Order:
    """Run the script among the files that come with it, or (`cancel`) stop the one that runs.

    Never the checks: the child gets to know the potential that its final state is evaluated with.
    """

    number: int
    limits: RunLimits = field(default_factory=RunLimits)
    potential: Potential | None = None
    image_pixels: int = 0
    want_evidence: bool = True
    cancel: bool = False


@dataclass(frozen=True, kw_only=True)
class Report:
    """How a child ended, as its zygote saw it."""

    number: int
    exit_signal: int = 0
    exit_code: int = 0
    killed_for: str | None = None  # timeout | cancelled | output_limit | out_of_memory
    storage_full: bool = False
    wall_s: float = 0.0
    cpu_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class ChildRecord:
    """What the child wrote after the script: untrusted."""

    error: str | None = None  # LAMMPS's message, None where the script reached its end
    out_of_memory: bool = False
    timed_out: bool = False  # `timer timeout` ended its runs
    evidence: Evidence = field(default_factory=Evidence)
    note: str | None = None  # why the evidence is incomplete
    defect: str | None = None  # what failed in MDX's own code, or was denied to it
    unreadable: str | None = None  # why the worker could not decode the record


@dataclass(frozen=True, kw_only=True)
class Leftovers:
    """What the child wrote down, and the files that the script left in its folder."""

    record: bytes = b""  # of `ChildRecord`; empty where the child came to no end of its own
    outputs: Mapping[str, Output] = field(default_factory=dict)


def send(
    channel: socket.socket, message: object, *, bulk: bytes = b"", descriptors: Sequence[int] = ()
) -> None:
    """Send a message, with bulk data and descriptors. Raises OSError when nobody is there.

    What does not fit beside the message goes into a memory file, the last of the descriptors.
    """
    head = msgspec.msgpack.encode(message)
    if len(head) + len(bulk) <= _MAX_INLINE_BYTES:
        parts = [_PREFIX.pack(len(head), False), head, bulk]
        socket.send_fds(channel, parts, descriptors)
        return
    attached = memory_file("bulk", bulk)
    try:
        parts = [_PREFIX.pack(len(head), True), head]
        socket.send_fds(channel, parts, (*descriptors, attached))
    finally:
        os.close(attached)


def receive(
    channel: socket.socket, kind: type[T], max_bulk_bytes: int = sys.maxsize
) -> tuple[T, bytes, list[int]]:
    """Wait for a message; return it with its bulk data (the end, where too long) and descriptors.

    Raises EOFError when the other end is gone, TimeoutError where the channel has one, and
    ValueError for what is no such message.
    """
    packet, descriptors, _, _ = socket.recv_fds(
        channel, _MAX_PACKET_BYTES, _MAX_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
    )
    if not packet:
        raise EOFError("the other end of the channel is gone")
    try:
        length, is_attached = _PREFIX.unpack_from(packet)
        end = _PREFIX.size + length
        message = msgspec.msgpack.decode(packet[_PREFIX.size : end], type=kind)
        if not is_attached:
            return message, packet[end:], descriptors
        if not descriptors:
            raise ValueError("a message has lost the data that belongs to it")
        attached = descriptors.pop()
        try:
            return message, read_tail(attached, max_bulk_bytes), descriptors
        finally:
            os.close(attached)
    except (ValueError, struct.error) as error:  # msgspec's errors are ValueErrors
        close_all(descriptors)
        raise ValueError(f"this is no {kind.__name__}: {error}") from error


def memory_file(name: str, content: bytes = b"") -> int:
    """Return the descriptor of a new memory file that holds `content`."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC)
    write_all(descriptor, content)
    return descriptor


def write_all(descriptor: int, content: bytes) -> None:
    """Write all of `content` at the descriptor's position."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def read_tail(descriptor: int, num_bytes: int) -> bytes:
    """Return the last `num_bytes` of a file, or all of it where it is shorter."""
    size = os.fstat(descriptor).st_size
    start = max(0, size - num_bytes)
    chunks = []
    while start < size:
        chunk = os.pread(descriptor, size - start, start)
        if not chunk:
            break
        chunks.append(chunk)
        start += len(chunk)
    return b"".join(chunks)


def close_all(descriptors: Sequence[int]) -> None:
    """Close descriptors, of which some may be closed already."""
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptor)
