"""A LAMMPS command written in Python, through the interface for plugins of LAMMPS itself.

LAMMPS asks a plugin for a function that makes an object of a class derived from `Command`, calls
its virtual method `command(int, char **)`, and deletes it. Here object and table of virtual
methods are laid out by hand, as the C++ ABI of all Linux platforms has it: two destructors, then
the one method. See "Writing plugins" in the LAMMPS manual.
"""

import ctypes
from collections.abc import Callable

_REGISTER = "_ZN9LAMMPS_NS15plugin_registerEP14lammpsplugin_tPv"  # plugin_register(.., void *)
_CREATE = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
_DESTROY = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_COMMAND = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(ctypes.c_char_p))
_BEFORE_METHODS = 2  # entries of a table before its first method: offset to top, type


class LammpsError(Exception):
    """LAMMPS refused a command; the message is its own (`mdx.lammps.log.clean_error`)."""


class _Description(ctypes.Structure):
    """`lammpsplugin_t` of lammpsplugin.h."""

    _fields_ = [
        *((name, ctypes.c_char_p) for name in ("version", "style", "name", "info", "author")),
        ("creator", ctypes.c_void_p),
        ("handle", ctypes.c_void_p),
    ]


class CommandPlugin:
    """The command `name` of one LAMMPS instance. Keep it for as long as the instance lives."""

    def __init__(
        self,
        library: ctypes.CDLL,
        handle: int,
        name: str,
        function: Callable[[list[str]], None],
    ):
        try:
            register = library[_REGISTER]
        except AttributeError as error:
            raise LammpsError("this LAMMPS was built without the package PLUGIN") from error

        def call(_: int, count: int, words: "ctypes._Pointer[ctypes.c_char_p]") -> None:
            function([(words[i] or b"").decode(errors="replace") for i in range(count)])

        self._destroy = _DESTROY(lambda _: None)
        self._command = _COMMAND(call)
        methods = [_address(self._destroy), _address(self._destroy), _address(self._command)]
        self._table = (ctypes.c_void_p * (_BEFORE_METHODS + len(methods)))(None, None, *methods)
        first = ctypes.addressof(self._table) + _BEFORE_METHODS * ctypes.sizeof(ctypes.c_void_p)
        self._object = ctypes.c_void_p(first)
        self._create = _CREATE(lambda _: ctypes.addressof(self._object))
        label = name.encode()
        version = str(library.lammps_version(handle)).encode()
        self._description = _Description(  # LAMMPS keeps pointers into it
            version, b"command", label, label, b"MDX", _address(self._create), _this_program()
        )
        register.argtypes, register.restype = [ctypes.c_void_p, ctypes.c_void_p], None
        register(ctypes.byref(self._description), handle)


def _this_program() -> int:
    """Return the handle of the shared object that LAMMPS closes when it unloads the plugin."""
    handle: int = ctypes.CDLL(None)._handle
    return handle


def _address(function: "ctypes._FuncPointer") -> int | None:
    return ctypes.cast(function, ctypes.c_void_p).value
