"""The wait for a child's end, its time, its files or a cancelled order.

While a child lives, each page that its zygote writes is first copied, and breaks up the large page
around it, so that every later fork copies 512 entries for one. So `begin` makes everything ready,
and the fork itself holds the zygote until there is something to do (`libc.hold_forks_until`): that
is, but for long scripts, the child's end. Signals tell of all of it: the kernel raises SIGIO when
an order comes.
"""

import fcntl
import os
import resource
import select
import signal
import socket
import time
from collections.abc import Callable

from rollout_farm import libc
from rollout_farm.messages import Order, close_all, receive

_ENDED, _ORDERED, _TIMED = signal.SIGCHLD, signal.SIGIO, signal.SIGALRM
_SIGNALS = (_ENDED, _ORDERED, _TIMED)
_SHORTEST_S = 1e-3  # a timer of zero seconds is none


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
        self._orders = select.poll()
        self._orders.register(channel, select.POLLIN)
        self._deadline, self._max_bytes = 0.0, 0
        self.num_looks = 0  # at the child that ended last; with the first it was over
        libc.hold_forks_until(_SIGNALS)
        fcntl.fcntl(channel, fcntl.F_SETOWN, os.getpid())
        flags = fcntl.fcntl(channel, fcntl.F_GETFL)
        fcntl.fcntl(channel, fcntl.F_SETFL, flags | os.O_ASYNC)

    def begin(self, deadline: float, max_bytes: int) -> None:
        """Prepare to fork a child that may run until then (`time.monotonic`) and write so much."""
        self._deadline, self._max_bytes, self.num_looks = deadline, max_bytes, 0
        libc.forget_signals(_SIGNALS)
        if self._orders.poll(0):  # its signal was among them
            os.kill(os.getpid(), _ORDERED)
        signal.setitimer(signal.ITIMER_REAL, self._next_look_s())

    def end(self, child: int, number: int) -> tuple[int, resource.struct_rusage, str | None]:
        """Wait for the child of order `number`, which was forked just now.

        Returns its status and use of resources as `os.wait4` does, and why it was killed, if so.
        Raises EOFError when the worker is gone, once the child is dead.
        """
        while True:
            self.num_looks += 1
            ended, status, usage = os.wait4(child, os.WNOHANG)
            if ended:
                return status, usage, None
            try:
                reason = self._why_kill(number)
            except EOFError:
                _kill(child)
                raise
            if reason:
                self.num_looks += 1
                return *_kill(child), reason
            signal.sigtimedwait(_SIGNALS, self._next_look_s())

    def _why_kill(self, number: int) -> str | None:
        if time.monotonic() >= self._deadline:
            return "timeout"
        if self._orders.poll(0):
            order, _, descriptors = receive(self._channel, Order)
            close_all(descriptors)
            if order.cancel and order.number == number:
                return "cancelled"
        if self._too_much and self._too_much(self._max_bytes):
            return "output_limit"
        return None

    def _next_look_s(self) -> float:
        left_s = max(_SHORTEST_S, self._deadline - time.monotonic())
        return min(left_s, self._every_s) if self._too_much else left_s


def _kill(child: int) -> tuple[int, resource.struct_rusage]:
    os.kill(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    return status, usage
