"""Landlock: the process gives up the file system except a few folders, and TCP altogether.

Layer 4 of the sandbox. It needs no privilege and cannot be undone, not even by native code. The
rights that the running kernel knows are found by its ABI version; those it does not know cannot
be denied, which the other layers make up for. See landlock(7).
"""

import ctypes
import os
import struct

from rollout_farm import libc

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on all architectures
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1

_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_READ = _READ_FILE | _READ_DIR
_WRITE_FILE, _TRUNCATE = 1 << 1, 1 << 14
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REGULAR = 1 << 4, 1 << 5, 1 << 7, 1 << 8
_REFER = 1 << 13
_WRITE = (
    _READ
    | _WRITE_FILE
    | _TRUNCATE
    | _REMOVE_DIR
    | _REMOVE_FILE
    | _MAKE_DIR
    | _MAKE_REGULAR
    | _REFER
)
_NUM_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}  # by ABI; 16 from ABI 5 on (ioctl on devices)
_TCP_RIGHTS = 0b11  # bind, connect; from ABI 4 on
_SCOPES = 0b11  # abstract unix sockets, signals; from ABI 6 on


def abi_version() -> int:
    """Return the kernel's landlock ABI, 0 where landlock is missing or switched off."""
    try:
        return libc.syscall(
            _CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_CREATE_RULESET_VERSION)
        )
    except OSError:
        return 0


def make_ruleset(readable: str, writable: str) -> int:
    """Return a descriptor of the rules: read below one folder, anything below the other.

    Mounts that are made below a folder later are covered too. Raises OSError where the kernel
    refuses.
    """
    abi = abi_version()
    if abi == 0:
        raise OSError("landlock is not available in this kernel")
    known = (1 << _NUM_FILE_RIGHTS.get(abi, 16)) - 1
    attributes = struct.pack("QQQ", known, _TCP_RIGHTS, _SCOPES)
    size = 8 if abi < 4 else 16 if abi < 6 else 24
    ruleset = libc.syscall(
        _CREATE_RULESET,
        ctypes.create_string_buffer(attributes, len(attributes)),
        ctypes.c_size_t(size),
        ctypes.c_uint32(0),
    )
    _allow(ruleset, readable, _READ & known)
    _allow(ruleset, writable, _WRITE & known)
    return ruleset


def restricted(ruleset: int) -> libc.Call:
    """Prepare to deny a process every file that the rules do not allow, and TCP, for ever.

    Needs no_new_privs to be set.
    """
    number = ctypes.c_long(_RESTRICT_SELF)
    return libc.call("syscall", number, ruleset, 0)


def _allow(ruleset: int, path: str, rights: int) -> None:
    folder = os.open(path, os.O_PATH | os.O_CLOEXEC | os.O_DIRECTORY)
    rule = struct.pack("=Qi", rights, folder)  # packed: the kernel's struct has no padding
    libc.syscall(
        _ADD_RULE,
        ctypes.c_int(ruleset),
        ctypes.c_int(_RULE_PATH_BENEATH),
        ctypes.create_string_buffer(rule, len(rule)),
        ctypes.c_uint32(0),
    )
    os.close(folder)
