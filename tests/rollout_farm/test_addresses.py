"""Where workers are: what may be written, and workers that come and go while scripts run."""

import contextlib
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from mdx.errors import FarmError, UsageError
from mdx.lammps.run import RunRequest, RunStatus
from rollout_farm.addresses import (
    Address,
    AddressBook,
    DnsName,
    Fixed,
    Folder,
    parse_address,
    parse_sources,
    reachable_address,
    registered,
    split_host_port,
)
from rollout_farm.cli import main
from rollout_farm.client import Farm

# some 20 ms of work, so that workers leave in the middle of scripts
SCRIPT = "variable i loop 3000\nlabel a\nnext i\njump SELF a\nprint 'this is {number}'\n"


def _has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


@pytest.mark.parametrize(
    ("text", "sources"),
    [
        ("host:1", [Fixed(Address("host:1"))]),
        ("a.b-c.d:65535", [Fixed(Address("a.b-c.d:65535"))]),
        ("10.0.0.1:50051", [Fixed(Address("10.0.0.1:50051"))]),
        ("[::1]:50051", [Fixed(Address("[::1]:50051"))]),
        ("unix:/a/b", [Fixed(Address("unix:/a/b"))]),
        ("dns:///farm.name:50051", [DnsName("farm.name", 50051)]),
        ("dir:/shared/farm", [Folder("/shared/farm")]),
        ("a:1, b:2,unix:/c", [Fixed(Address(at)) for at in ("a:1", "b:2", "unix:/c")]),
    ],
)
def test_address_may_be_written_so(text, sources):
    assert list(parse_sources(text)) == sources
    assert list(parse_sources([text])) == sources


@pytest.mark.parametrize(
    "text",
    [
        "",
        ",",
        "a:1,",
        "host",
        "host:",
        ":50051",
        "host:0",
        "host:65536",
        "host:-1",
        "host:1x",
        "host:\u0661",
        "ho st:1",
        "http://host:1",
        "::1:50051",
        "[::1]",
        "[host]:1",
        "[:::]:1",
        "unix:relative",
        "unix:",
        "dir:",
        "dns:name:1",
        "dns:///name",
        "dns:///:1",
        "dns:///name:0",
        "dns://server/name:1",
    ],
)
def test_any_other_address_is_one_line_that_names_it(text):
    with pytest.raises(UsageError) as caught:
        Farm([text])
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_command_line_refuses_a_malformed_address(tmp_path):
    script = tmp_path / "in.lammps"
    script.write_text("units lj\n")
    for command in (["run", str(script), "--farm", "nohost"], ["status", "nohost"]):
        done = CliRunner().invoke(main, command)
        assert done.exit_code == 2
        assert done.stderr.startswith("error: ")
        assert "'nohost'" in done.stderr


def test_all_addresses_of_a_name_are_workers_that_hold_its_certificate():
    found = DnsName("localhost", 7).read()
    assert Address("127.0.0.1:7", "localhost") in found
    assert {address.server_name for address in found} == {"localhost"}
    assert DnsName("::1", 7).read() == (Address("[::1]:7", "::1"),)


def test_folder_names_a_worker_in_each_file(tmp_path):
    (tmp_path / "a").write_text("host-a:1\n")
    (tmp_path / "b").write_text("[::1]:2")
    (tmp_path / "empty").write_text("")
    (tmp_path / ".unfinished").write_text("host-c:3")
    (tmp_path / "nonsense").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "folder").mkdir()
    assert Folder(str(tmp_path)).read() == (Address("host-a:1"), Address("[::1]:2"))


def test_what_cannot_be_read_for_a_while_names_whom_it_named_before(tmp_path):
    folder = tmp_path / "farm"
    folder.mkdir()
    (folder / "a").write_text("host:1")
    book = AddressBook(sources=(Folder(str(folder), every_s=0.0001), Fixed(Address("host:1"))))
    assert book.read() == (Address("host:1"),)  # once
    folder.rename(tmp_path / "away")
    assert book.read() == (Address("host:1"),)
    assert book.problems == ()
    (tmp_path / "away" / "a").unlink()
    (tmp_path / "away").rename(folder)
    time.sleep(0.001)
    assert book.read() == (Address("host:1"),)  # the other source's
    assert "names no worker" in book.problems[0]


def test_registered_address_is_there_for_a_block_and_whole(tmp_path):
    folder = tmp_path / "new" / "farm"
    with registered(str(folder), "host:1"), registered(str(folder), "host:2"):
        assert set(Folder(str(folder)).read()) == {Address("host:1"), Address("host:2")}
    assert list(folder.iterdir()) == []
    with registered("", "host:1"):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="must be a folder"), registered(f"{tmp_path}/file", "a:1"):
        pass


def test_worker_bound_to_all_addresses_is_reached_by_its_host_name():
    name = socket.gethostname()
    assert reachable_address("0.0.0.0:7") == f"{name}:7"
    assert reachable_address("[::]:7") == f"{name}:7"
    for address in ("127.0.0.1:7", "[::1]:7", "host:7", "unix:/a"):
        assert reachable_address(address) == address
    assert split_host_port("[::]:7") == ("::", 7)
    assert parse_address("[::1]:7").target == "[::1]:7"


@pytest.mark.parametrize("form", ["dir:{empty}", "dir:/nowhere/at/all", "dns:///none.invalid:1"])
def test_source_without_a_worker_is_said_after_the_timeout(tmp_path, form):
    started = time.monotonic()
    with pytest.raises(FarmError, match=r"no farm worker answers \(.*(names no|No such|known)"):
        Farm(form.format(empty=tmp_path), connect_timeout_s=0.6)
    assert 0.5 < time.monotonic() - started < 20


def test_client_waits_for_the_first_worker_to_register(serve, tmp_path):
    opened: list[Farm] = []
    waiting = threading.Thread(
        target=lambda: opened.append(Farm(f"dir:{tmp_path}/farm", connect_timeout_s=20.0))
    )
    waiting.start()
    with serve("--register-dir", f"{tmp_path}/farm"):
        waiting.join(20)
        [farm] = opened
        assert farm.run(RunRequest(script="units lj\n")).status is RunStatus.OK
        farm.close()


@pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6")
def test_ipv6_worker_is_reached(serve):
    with serve(listen="[::1]:0") as served, Farm(served.address) as farm:
        assert served.address.startswith("[::1]:")
        assert farm.run(RunRequest(script="units lj\n")).status is RunStatus.OK


def test_name_with_some_dead_addresses_serves(serve):
    # localhost may well have an IPv6 address at which nobody listens
    with serve() as served, Farm(f"dns:///localhost:{served.port}") as farm:
        assert farm.run(RunRequest(script="units lj\n")).status is RunStatus.OK


def test_worker_that_two_addresses_lead_to_counts_once(serve):
    with serve() as served:
        addresses = f"127.0.0.1:{served.port},localhost:{served.port}"
        with Farm(addresses, connect_timeout_s=30.0) as farm:
            _until(lambda: all(worker.is_up for worker in farm.fleet.workers))
            assert len(farm.fleet.workers) == 2
            assert farm.num_slots == 1
            assert farm.run(RunRequest(script="units lj\n")).status is RunStatus.OK


def test_workers_come_and_go_under_load_and_no_script_is_lost(serve, tmp_path):
    folder = tmp_path / "farm"
    register = ("--register-dir", str(folder))
    answers: Counter[int] = Counter()
    with contextlib.ExitStack() as stack:
        first, second, third = (stack.enter_context(serve(*register)) for _ in range(3))
        farm = stack.enter_context(Farm(f"dir:{folder}"))
        assert farm.num_slots == 3
        futures = [farm.submit(RunRequest(script=SCRIPT.format(number=n))) for n in range(300)]
        for number, future in enumerate(futures):
            future.add_done_callback(lambda _, number=number: answers.update([number]))
        _until(lambda: len(answers) > 20)
        os.kill(first.process.pid, signal.SIGKILL)  # leaves its file behind
        stack.enter_context(serve(*register))
        _until(lambda: farm.num_slots == 3)
        second.process.terminate()  # takes its file with it and finishes what it runs
        _until(lambda: len(farm.fleet.workers) == 3)
        _file_of(third.address, folder).unlink()  # lives on, but is wanted no more
        _until(lambda: len(farm.fleet.workers) == 2)
        for number, future in enumerate(futures):
            result = future.result(60)
            assert result.status is RunStatus.OK
            assert result.log.endswith(f"this is {number}\n")
        assert third.process.poll() is None
        assert third.address not in [worker.address for worker in farm.fleet.workers]
    assert answers == Counter(range(300))


def test_farm_whose_workers_all_left_says_so_and_goes_on_with_the_next(serve, tmp_path):
    register = ("--register-dir", str(tmp_path))
    with contextlib.ExitStack() as stack:
        with serve(*register):
            farm = stack.enter_context(Farm(f"dir:{tmp_path}", patience_s=1.0))
        _until(lambda: not farm.fleet.workers)
        with pytest.raises(FarmError, match="names no worker yet"):
            farm.run(RunRequest(script="units lj\n"))
        stack.enter_context(serve(*register))
        _until(lambda: farm.num_slots == 1)
        assert farm.run(RunRequest(script="units lj\n")).status is RunStatus.OK


def _file_of(address: str, folder: Path) -> Path:
    [path] = [path for path in folder.iterdir() if path.read_text().strip() == address]
    return path


def _until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
