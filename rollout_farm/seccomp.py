"""Seccomp: the system calls that a running script may make.

Layer 5 of the sandbox, the last to be put on. Three answers: what LAMMPS and the collector need
is allowed; what only an attack needs (exec, fork, socket, ptrace, mount, kill, ...) KILLS the
process with SIGSYS, so that SIGSYS means "denied" beyond doubt; everything else fails with EPERM,
so that a newer C library's probing does not kill a good script.
"""

import ctypes
import platform
import struct

from rollout_farm import libc

_SET_MODE_FILTER = 1
_RET_KILL_PROCESS, _RET_ERRNO, _RET_ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_EPERM = 1
_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_LOAD_VALUE, _SKIP, _COPY_TO_X = 0x00, 0x05, 0x07
_AND, _SHIFT_LEFT, _SHIFT_RIGHT, _SHIFT_RIGHT_BY_X = 0x54, 0x64, 0x74, 0x7C
_NUMBER_OFFSET, _ARCH_OFFSET, _FIRST_ARGUMENT_OFFSET, _THIRD_ARGUMENT_OFFSET = 0, 4, 16, 32
_PROT_EXEC = 4
_ANSWERS = (_RET_ERRNO | _EPERM, _RET_ALLOW, _RET_KILL_PROCESS)  # two bits say which
_GROUP = 16  # calls whose answers lie in one word
_X32_BIT = 0x40000000
_OWN_PID = 0x5EC0_0000 + 4711  # stands for the child's process id until it is known

# (x86-64, aarch64); -1 where the architecture has no such call
_ALLOWED = {
    "read": (0, 63),
    "write": (1, 64),
    "open": (2, -1),
    "close": (3, 57),
    "stat": (4, -1),
    "fstat": (5, 80),
    "lstat": (6, -1),
    "poll": (7, -1),
    "lseek": (8, 62),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "brk": (12, 214),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "pread64": (17, 67),
    "pwrite64": (18, 68),
    "readv": (19, 65),
    "writev": (20, 66),
    "access": (21, -1),
    "select": (23, -1),
    "sched_yield": (24, 124),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "dup": (32, 23),
    "dup2": (33, -1),
    "nanosleep": (35, 101),
    "getpid": (39, 172),
    "exit": (60, 93),
    "uname": (63, 160),
    "fcntl": (72, 25),
    "fsync": (74, 82),
    "fdatasync": (75, 83),
    "truncate": (76, 45),
    "ftruncate": (77, 46),
    "getdents": (78, -1),
    "getcwd": (79, 17),
    "chdir": (80, 49),
    "rename": (82, -1),
    "mkdir": (83, -1),
    "rmdir": (84, -1),
    "unlink": (87, -1),
    "readlink": (89, -1),
    "umask": (95, 166),
    "gettimeofday": (96, 169),
    "getrusage": (98, 165),
    "sysinfo": (99, 179),
    "times": (100, 153),
    "getuid": (102, 174),
    "getgid": (104, 176),
    "geteuid": (107, 175),
    "getegid": (108, 177),
    "getppid": (110, 173),
    "statfs": (137, 43),
    "fstatfs": (138, 44),
    "gettid": (186, 178),
    "time": (201, -1),
    "futex": (202, 98),
    "sched_getaffinity": (204, 123),
    "getdents64": (217, 61),
    "fadvise64": (221, 223),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "exit_group": (231, 94),
    "openat": (257, 56),
    "mkdirat": (258, 34),
    "newfstatat": (262, 79),
    "unlinkat": (263, 35),
    "renameat": (264, 38),
    "readlinkat": (267, 78),
    "faccessat": (269, 48),
    "pselect6": (270, 72),
    "ppoll": (271, 73),
    "set_robust_list": (273, 99),
    "utimensat": (280, 88),
    "dup3": (292, 24),
    "fallocate": (285, 47),
    "getcpu": (309, 168),
    "renameat2": (316, 276),
    "getrandom": (318, 278),
    "membarrier": (324, 283),
    "statx": (332, 291),
    "rseq": (334, 293),
    "close_range": (436, 436),
    "faccessat2": (439, 439),
}
_KILLED = {
    "clone": (56, 220),
    "fork": (57, -1),
    "vfork": (58, -1),
    "execve": (59, 221),
    "kill": (62, 129),
    "socket": (41, 198),
    "connect": (42, 203),
    "accept": (43, 202),
    "sendto": (44, 206),
    "bind": (49, 200),
    "listen": (50, 201),
    "socketpair": (53, 199),
    "ptrace": (101, 117),
    "setuid": (105, 146),
    "setgid": (106, 144),
    "setreuid": (113, 145),
    "setresuid": (117, 147),
    "setresgid": (119, 149),
    "mknod": (133, -1),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "mount": (165, 40),
    "umount2": (166, 39),
    "init_module": (175, 105),
    "tkill": (200, 130),
    "mknodat": (259, 33),
    "unshare": (272, 97),
    "perf_event_open": (298, 241),
    "setns": (308, 268),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "bpf": (321, 280),
    "execveat": (322, 281),
    "userfaultfd": (323, 282),
    "pidfd_send_signal": (424, 424),
    "io_uring_setup": (425, 425),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "clone3": (435, 435),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
}
_TGKILL = (234, 131)  # allowed on oneself only: abort() needs it
_SECCOMP = (317, 277)
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


class Filter:
    """The filter, assembled once and put on each child. Raises OSError on other architectures.

    A process puts its id into `own_pid` and makes the call `restricted`, for ever. Needs
    no_new_privs.
    """

    def __init__(self) -> None:
        program = filter_program(_OWN_PID)
        self._instructions = ctypes.create_string_buffer(program, len(program))
        place = program.index(struct.pack("I", _OWN_PID))
        self.own_pid: ctypes.Array[ctypes.c_uint32] = (ctypes.c_uint32 * 1).from_buffer(
            self._instructions, place
        )
        address = ctypes.addressof(self._instructions)
        self.restricted = libc.call(
            "syscall",
            ctypes.c_long(_SECCOMP[platform_index()]),
            _SET_MODE_FILTER,
            0,
            ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program) // 8, address)),
        )


def platform_index() -> int:
    """Return the column of the tables above; raises OSError on other architectures."""
    machines = list(_AUDIT_ARCH)
    if platform.machine() not in machines:
        raise OSError(f"the sandbox knows {', '.join(machines)}, not {platform.machine()}")
    return machines.index(platform.machine())


def filter_program(own_pid: int) -> bytes:
    """Return the BPF program for this architecture, 8 bytes an instruction.

    A binary search over groups of call numbers, then a table: each child has the program checked
    and translated anew, in a time that grows with its length.
    """
    machine = platform_index()
    audit_arch = _AUDIT_ARCH[platform.machine()]
    deny = _return(_RET_KILL_PROCESS)
    program = [
        _load(_ARCH_OFFSET),
        _jump(_JUMP_EQUAL, audit_arch, 1, 0),
        deny,
        _load(_NUMBER_OFFSET),
        _jump(_JUMP_AT_LEAST, _X32_BIT, 0, 1),
        deny,
        _jump(_JUMP_EQUAL, _TGKILL[machine], 0, 4),
        _load(_FIRST_ARGUMENT_OFFSET),
        _jump(_JUMP_EQUAL, own_pid, 0, 1),
        _return(_RET_ALLOW),
        deny,
        _jump(_JUMP_EQUAL, _ALLOWED["mmap"][machine], 1, 0),
        _jump(_JUMP_EQUAL, _ALLOWED["mprotect"][machine], 0, 4),
        _load(_THIRD_ARGUMENT_OFFSET),
        _jump(_JUMP_ANY_BIT, _PROT_EXEC, 0, 1),
        _return(_RET_ERRNO | _EPERM),  # no new code: libraries are loaded before
        _return(_RET_ALLOW),
    ]
    return b"".join(program + _looked_up(_tables(machine)))


def _tables(machine: int) -> list[tuple[int, int]]:
    """Return (first group, table) of each range of groups of 16 call numbers with one table.

    A table has two bits for each number of a group, its answer's place in `_ANSWERS`.
    """
    tables: dict[int, int] = {}
    for calls, answer in ((_ALLOWED, _RET_ALLOW), (_KILLED, _RET_KILL_PROCESS)):
        for number in (numbers[machine] for numbers in calls.values() if numbers[machine] >= 0):
            group, place = divmod(number, _GROUP)
            tables[group] = tables.get(group, 0) | _ANSWERS.index(answer) << 2 * place
    ranges = [(0, tables.get(0, 0))]
    for group in range(1, max(tables) + 2):
        if (table := tables.get(group, 0)) != ranges[-1][1]:
            ranges.append((group, table))
    return ranges


def _looked_up(ranges: list[tuple[int, int]]) -> list[bytes]:
    """Return the instructions that find a call's answer in the table of its group."""
    answered = [
        _operation(_SHIFT_RIGHT_BY_X),
        _operation(_AND, 3),
        _jump(_JUMP_EQUAL, 1, 2, 0),
        _jump(_JUMP_EQUAL, 2, 2, 0),
        *map(_return, _ANSWERS),
    ]
    return [
        _load(_NUMBER_OFFSET),
        _operation(_AND, _GROUP - 1),
        _operation(_SHIFT_LEFT, 1),
        _operation(_COPY_TO_X),
        _load(_NUMBER_OFFSET),
        _operation(_SHIFT_RIGHT, _GROUP.bit_length() - 1),
        *_search(ranges, 0),
        *answered,
    ]


def _search(ranges: list[tuple[int, int]], num_after: int) -> list[bytes]:
    """Return the instructions that load the table of group A, and skip `num_after` others."""
    if len(ranges) == 1:
        found = [_operation(_LOAD_VALUE, ranges[0][1])]
        return [*found, _operation(_SKIP, num_after)] if num_after else found
    middle = len(ranges) // 2
    above = _search(ranges[middle:], num_after)
    below = _search(ranges[:middle], num_after + len(above))
    return [_jump(_JUMP_AT_LEAST, ranges[middle][0], len(below), 0), *below, *above]


def _operation(kind: int, value: int = 0) -> bytes:
    return struct.pack("HBBI", kind, 0, 0, value)


def _load(offset: int) -> bytes:
    return struct.pack("HBBI", _LOAD, 0, 0, offset)


def _jump(kind: int, value: int, if_true: int, if_false: int) -> bytes:
    return struct.pack("HBBI", kind, if_true, if_false, value)


def _return(answer: int) -> bytes:
    return struct.pack("HBBI", _RETURN, 0, 0, answer)
