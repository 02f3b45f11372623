"""Packets between worker and zygote: any size arrives whole, what is none is refused."""

import os
import socket
from collections.abc import Iterator

import pytest

from mdx.lammps.run import RunLimits
from rollout_farm.messages import Order, memory_file, read_tail, receive, send


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs


def _num_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("size", [0, 1, 60_000, 65_000, 66_000, 3_000_000])
def test_bulk_data_of_any_size_comes_with_its_message(pair, size):
    before = _num_descriptors()
    order = Order(number=7, limits=RunLimits(wall_time_s=2.5))
    bulk = os.urandom(size)
    log = memory_file("log", b"a line\n")
    send(pair[0], order, bulk=bulk, descriptors=[log])
    got, data, [descriptor] = receive(pair[1], Order)
    assert (got, data, read_tail(descriptor, 100)) == (order, bulk, b"a line\n")
    os.close(descriptor)
    os.close(log)
    assert _num_descriptors() == before


def test_bulk_data_that_is_too_long_is_cut_to_its_end(pair):
    send(pair[0], Order(number=1), bulk=bytes(100_000) + b"end")
    _, data, _ = receive(pair[1], Order, 10)
    assert data == bytes(7) + b"end"


@pytest.mark.parametrize(
    "packet", [b"x", b"\xff\xff\xff\xff\0", b"\1\0\0\0\1\x80", b"\1\0\0\0\0\x80", b"\0\0\0\0\0"]
)
def test_what_is_no_message_is_refused_and_its_descriptors_closed(pair, packet):
    log = memory_file("log")
    before = _num_descriptors()
    socket.send_fds(pair[0], [packet], [log] if packet[4:5] != b"\1" else [])
    with pytest.raises(ValueError, match="this is no Order"):
        receive(pair[1], Order)
    assert _num_descriptors() == before
    os.close(log)


def test_the_other_end_that_is_gone_is_told_apart(pair):
    pair[0].close()
    with pytest.raises(EOFError):
        receive(pair[1], Order)
