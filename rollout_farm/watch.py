"""The wait for a child's end, its time, its files or a cancelled order: one blocking call.

While a child lives, each page that its zygote writes is first copied, and stays a single page that
every later fork copies by itself. So all that can be made before the fork is made there (`begin`),
what follows it (`wait`) calls the kernel and little else, and the rest comes when the child is
gone (`end`). The kernel tells of that by SIGCHLD, through a descriptor.
"""

import ctypes
import math
import os
import resource
import select
import signal
import socket
import time
from collections.abc import Callable

from rollout_farm import libc
from rollout_farm.messages import Order, close_all, receive

_SIGNAL_RECORD_BYTES = 128  # struct signalfd_siginfo


class _Polled(ctypes.Structure):
    """C's struct pollfd."""

    _fields_ = (("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short))


class Watch:
    """Waits for the child of one zygote that lives, one after the other.

    Args:
        channel: where orders come from; one that cancels the running one ends the child.
        too_much: tells whether the child's files take more than the given bytes, asked every
            `every_s` seconds; None where the job folder is a mount that bounds itself.
    """

    def __init__(
        self, channel: socket.socket, too_much: Callable[[int], bool] | None, every_s: float
    ):
        self._channel, self._too_much, self._every_s = channel, too_much, every_s
        self._signals = libc.signal_descriptor(signal.SIGCHLD)
        self._polled = (_Polled * 2)(
            _Polled(self._signals, select.POLLIN, 0), _Polled(channel.fileno(), select.POLLIN, 0)
        )
        self._left_ms = ctypes.c_int()
        self.wait = libc.prepared("poll", self._polled, ctypes.c_ulong(2), self._left_ms)
        self._deadline, self._max_bytes = 0.0, 0

    def begin(self, deadline: float, max_bytes: int) -> None:
        """Prepare for a child that may run until then (`time.monotonic`) and write so much."""
        self._deadline, self._max_bytes = deadline, max_bytes
        self._be_ready()

    def end(self, child: int, number: int) -> tuple[int, resource.struct_rusage, str | None]:
        """Wait for the child of order `number`, after a first `wait`.

        Returns its status and use of resources as `os.wait4` does, and why it was killed, if so.
        Raises EOFError when the worker is gone, once the child is dead.
        """
        while True:
            signalled, ordered = (one.revents for one in self._polled)
            if signalled:
                os.read(self._signals, _SIGNAL_RECORD_BYTES)
                ended, status, usage = os.wait4(child, os.WNOHANG)
                if ended:
                    return status, usage, None
            try:
                reason = self._why_kill(number, bool(ordered))
            except EOFError:
                _kill(child)
                raise
            if reason:
                return *_kill(child), reason
            self._be_ready()
            self.wait()

    def _why_kill(self, number: int, is_ordered: bool) -> str | None:
        if time.monotonic() >= self._deadline:
            return "timeout"
        if is_ordered:
            order, _, descriptors = receive(self._channel, Order)
            close_all(descriptors)
            if order.cancel and order.number == number:
                return "cancelled"
        if self._too_much and self._too_much(self._max_bytes):
            return "output_limit"
        return None

    def _be_ready(self) -> None:
        left_s = self._deadline - time.monotonic()
        if self._too_much:
            left_s = min(left_s, self._every_s)
        self._left_ms.value = max(0, math.ceil(left_s * 1000))
        for one in self._polled:
            one.revents = 0  # a call that a signal interrupts leaves them as they were


def _kill(child: int) -> tuple[int, resource.struct_rusage]:
    os.kill(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    return status, usage
