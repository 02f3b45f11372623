"""The system call filter, number by number, for both architectures, by an interpreter of our own.

The interpreter knows classic BPF from the kernel's documentation, not from the code that assembles
the filter. The numbers in the table are compared with the kernel's headers where they are installed
(Debian: linux-libc-dev, and linux-libc-dev-arm64-cross for the other architecture).
"""

import mmap
import platform
import re
import struct
from pathlib import Path

import pytest

from rollout_farm import seccomp

ALLOW, KILL, EPERM = 0x7FFF0000, 0x80000000, 0x00050001
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
OTHERS = {"i386": 0x40000003, "arm": 0x40000028, "x32 as its own": 0x4000003E, "none": 0}
OWN_PID = 4711
X32 = 0x40000000
# what only an attack needs, from the manual and not from the table
DANGEROUS = {
    "x86_64": {
        "execve": 59, "execveat": 322, "fork": 57, "vfork": 58, "clone": 56, "clone3": 435,
        "ptrace": 101, "socket": 41, "connect": 42, "mount": 165, "unshare": 272, "setns": 308,
        "kill": 62, "tkill": 200, "bpf": 321, "io_uring_setup": 425, "process_vm_writev": 311,
        "init_module": 175, "pivot_root": 155, "chroot": 161, "setuid": 105, "userfaultfd": 323,
    },
    "aarch64": {
        "execve": 221, "execveat": 281, "clone": 220, "clone3": 435, "ptrace": 117,
        "socket": 198, "connect": 203, "mount": 40, "unshare": 97, "setns": 268, "kill": 129,
        "tkill": 130, "bpf": 280, "io_uring_setup": 425, "process_vm_writev": 271,
        "init_module": 105, "pivot_root": 41, "chroot": 51, "setuid": 146, "userfaultfd": 282,
    },
}  # fmt: skip
HEADERS = {
    "x86_64": (
        "/usr/include/x86_64-linux-gnu/asm/unistd_64.h",
        "/usr/include/asm/unistd_64.h",
        "/usr/x86_64-linux-gnu/include/asm/unistd_64.h",
    ),
    "aarch64": (
        "/usr/aarch64-linux-gnu/include/asm/unistd_64.h",
        "/usr/include/aarch64-linux-gnu/asm/unistd_64.h",
        "/usr/aarch64-linux-gnu/include/asm-generic/unistd.h",
        "/usr/include/asm-generic/unistd.h",
    ),
}


@pytest.fixture(params=list(ARCHITECTURES))
def machine(request, monkeypatch) -> str:
    """Take the place of a host of each architecture."""
    monkeypatch.setattr(platform, "machine", lambda: request.param)
    return request.param


@pytest.fixture
def program(machine: str) -> bytes:
    return seccomp.filter_program(OWN_PID)


def test_each_number_is_answered_as_its_table_says(machine: str, program: bytes):
    expected = _expected(machine)
    wrong = {
        number: hex(answer)
        for number in range(601)
        if (answer := interpret(program, number, ARCHITECTURES[machine]))
        != expected.get(number, EPERM)
    }
    assert wrong == {}


@pytest.mark.parametrize("other", OTHERS)
def test_calls_of_another_architecture_kill(machine: str, program: bytes, other: str):
    foreign = {ARCHITECTURES[name] for name in ARCHITECTURES if name != machine} | {OTHERS[other]}
    for arch in foreign:
        assert {interpret(program, number, arch) for number in range(601)} == {KILL}


def test_x32_numbers_kill(machine: str, program: bytes):
    for base in (X32, 0x80000000, 0xFFFFFFFF - 600):
        numbers = range(base, base + 601)
        assert {interpret(program, n, ARCHITECTURES[machine]) for n in numbers} == {KILL}


def test_numbers_that_do_not_exist_yet_are_refused_without_a_kill(machine: str, program: bytes):
    for number in (601, 1000, 4095, 65536, X32 - 1):
        assert interpret(program, number, ARCHITECTURES[machine]) == EPERM


def test_tgkill_is_for_oneself_only(machine: str, program: bytes):
    [number] = _column(machine, [seccomp._TGKILL])
    arch = ARCHITECTURES[machine]
    assert interpret(program, number, arch, OWN_PID) == ALLOW
    for pid in (0, 1, OWN_PID - 1, OWN_PID + 1, 0xFFFFFFFF):
        assert interpret(program, number, arch, pid) == KILL
    # the kernel reads a pid as an int: the upper half of the register does not matter
    assert interpret(program, number, arch, OWN_PID | 1 << 40) == ALLOW


@pytest.mark.parametrize("call", ["mmap", "mprotect"])
def test_memory_is_never_made_executable(machine: str, program: bytes, call: str):
    [number] = _column(machine, [seccomp._ALLOWED[call]])
    arch = ARCHITECTURES[machine]
    for protection in range(8):
        answer = interpret(program, number, arch, third=protection)
        assert answer == (EPERM if protection & mmap.PROT_EXEC else ALLOW)


def test_what_only_an_attack_needs_kills(machine: str, program: bytes):
    for name, number in DANGEROUS[machine].items():
        assert interpret(program, number, ARCHITECTURES[machine]) == KILL, name


def test_program_is_within_the_kernels_bounds_and_jumps_forward_inside_itself(program: bytes):
    instructions = list(struct.iter_unpack("HBBI", program))
    assert 0 < len(instructions) <= 4096
    for position, (code, if_true, if_false, _) in enumerate(instructions):
        if code == 0x05:
            assert position + 1 + instructions[position][3] < len(instructions)
        if code in (0x15, 0x35, 0x45):
            assert position + 1 + max(if_true, if_false) < len(instructions)
    assert instructions[-1][0] == 0x06


def test_tables_name_no_call_twice(machine: str):
    numbers = _column(machine, _all_pairs().values())
    assert len(numbers) == len(set(numbers))
    assert not seccomp._ALLOWED.keys() & seccomp._KILLED.keys()


@pytest.mark.parametrize("arch", list(ARCHITECTURES))
def test_numbers_are_those_of_the_kernels_headers(arch: str):
    path = next((path for path in map(Path, HEADERS[arch]) if path.exists()), None)
    if path is None:
        pytest.skip(f"no kernel headers for {arch} (Debian: linux-libc-dev[-arm64-cross])")
    known = _header_numbers(path.read_text())
    column = list(ARCHITECTURES).index(arch)
    differences = {
        name: (pair[column], known.get(name, -1))
        for name, pair in _all_pairs().items()
        # a call that is newer than the headers is in neither
        if pair[column] != known.get(name, -1) and not (name not in known and pair[column] > 430)
    }
    assert differences == {}


def test_unknown_architecture_is_refused_by_name(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(OSError, match="not riscv64"):
        seccomp.Filter()


def interpret(program: bytes, number: int, arch: int, argument: int = 0, third: int = 0) -> int:
    """Return what the filter answers to a call, as seccomp(2) describes its machine."""
    data = struct.pack("<IIQ6Q", number, arch, 0, argument, 0, third, *[0] * 3)
    instructions = list(struct.iter_unpack("<HBBI", program))
    accumulator, index, position = 0, 0, 0
    while True:
        code, if_true, if_false, value = instructions[position]
        position += 1
        match code:
            case 0x20:  # load a word
                assert value % 4 == 0
                [accumulator] = struct.unpack_from("<I", data, value)
            case 0x15:  # jump if equal
                position += if_true if accumulator == value else if_false
            case 0x35:  # jump if at least, unsigned
                position += if_true if accumulator >= value else if_false
            case 0x25:  # jump if greater, unsigned
                position += if_true if accumulator > value else if_false
            case 0x45:  # jump if any bit is set
                position += if_true if accumulator & value else if_false
            case 0x05:  # jump
                position += value
            case 0x00:  # load a constant
                accumulator = value
            case 0x07:  # copy to the index register
                index = accumulator
            case 0x54:
                accumulator &= value
            case 0x64:
                accumulator = accumulator << value & 0xFFFFFFFF
            case 0x74:
                accumulator >>= value
            case 0x7C:  # shift right by the index register; the kernel masks it, we need not
                assert index < 32
                accumulator >>= index
            case 0x06:  # return
                return value
            case _:
                raise AssertionError(f"the kernel may know instruction {code:#x}, this test not")


def _all_pairs() -> dict[str, tuple[int, int]]:
    return {**seccomp._ALLOWED, **seccomp._KILLED, "tgkill": seccomp._TGKILL}


def _column(machine: str, pairs) -> list[int]:
    column = list(ARCHITECTURES).index(machine)
    return [pair[column] for pair in pairs if pair[column] >= 0]


def _expected(machine: str) -> dict[int, int]:
    allowed = dict.fromkeys(_column(machine, seccomp._ALLOWED.values()), ALLOW)
    killed = dict.fromkeys(_column(machine, seccomp._KILLED.values()), KILL)
    tgkill = dict.fromkeys(_column(machine, [seccomp._TGKILL]), KILL)  # pid 0 is not one's own
    return allowed | killed | tgkill


def _header_numbers(text: str) -> dict[str, int]:
    """Return name -> number; the generic header names 64-bit calls by way of __NR3264_ names."""
    numbers, aliases = {}, {}
    for prefix, name, value in re.findall(r"^#define (__NR(?:3264)?_)(\w+)\s+(\w+)", text, re.M):
        if value.isdigit():
            numbers.setdefault(("3264_" if "3264" in prefix else "") + name, int(value))
        elif value.startswith("__NR3264_"):
            aliases.setdefault(name, value.removeprefix("__NR3264_"))
    for name, target in aliases.items():
        numbers.setdefault(name, numbers.get(f"3264_{target}", -1))
    return {name: number for name, number in numbers.items() if number >= 0}
