"""Reading what XLA scheduled: computations of instructions, in the order in which they will run.

Only what a projection needs is kept of the text of a compiled module: opcodes, sizes, the
compiler's own cycle estimates, trip counts, collectives and the kernels written by hand.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

COLLECTIVES = (
    "all-gather",
    "all-reduce",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
    "ragged-all-to-all",
)
_INSTRUCTION = re.compile(r"^\s*(ROOT )?%?([\w.\-]+) = (.*?) ([a-z][\w\-]*)\((.*)$")
_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{\s*$")
_SHAPE = re.compile(r"(pred|[a-z]+\d+\w*)\[([\d,]*)\](?:\{([^}]*)\})?")
_TILE = re.compile(r"T\(([\d,]+)\)")
_BITS = re.compile(r"\d+")


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """One line of a scheduled module. `shapes` are those of the result, (dtype, dims)."""

    name: str
    opcode: str
    shapes: tuple[tuple[str, tuple[int, ...]], ...]
    operands: str  # and attributes: the rest of the line
    stored: tuple[int, ...] = ()  # bytes that each result takes in HBM, 0 for faster memories

    @property
    def result_bytes(self) -> int:
        """Bytes of everything that the instruction returns."""
        return sum(shape_bytes(*shape) for shape in self.shapes)

    @property
    def cycles(self) -> int:
        """The compiler's estimate, or 0 where it gives none."""
        found = re.search(r'"estimated_cycles":"(\d+)"', self.operands)
        return int(found[1]) if found else 0

    @property
    def operand_names(self) -> tuple[str, ...]:
        """Names of the instructions whose results are read."""
        return tuple(re.findall(r"%([\w.\-]+)", self.operands.partition(")")[0]))

    @property
    def called(self) -> tuple[str, ...]:
        """Names of the computations that the instruction runs."""
        applied = "|to_apply" if self.opcode in ("call", "call-start") else ""
        found = re.findall(
            rf"(?:calls|body|true_computation|false_computation{applied})=%?([\w.\-]+)",
            self.operands,
        )
        branches = re.search(r"branch_computations=\{([^}]*)\}", self.operands)
        names = [name.strip().lstrip("%") for name in branches[1].split(",")] if branches else []
        return (*found, *names)

    @property
    def trip_count(self) -> int | None:
        """How often a loop runs, where the compiler knows."""
        found = re.search(r'"known_trip_count":\{"n":"(\d+)"\}', self.operands)
        return int(found[1]) if found else None

    @property
    def custom_target(self) -> str:
        """What a custom call calls."""
        found = re.search(r'custom_call_target="([^"]+)"', self.operands)
        return found[1] if found else ""

    @property
    def channel(self) -> str:
        """What the pieces of one asynchronous collective have in common."""
        found = re.search(r"channel_id=(\d+)", self.operands)
        return found[1] if found else self.name

    @property
    def source(self) -> str:
        """The operation of the program that the instruction comes from."""
        found = re.search(r'op_name="([^"]*)"', self.operands)
        return found[1] if found else ""

    @property
    def group_size(self) -> int:
        """Devices that one collective joins."""
        return _group_size(self.operands)


@dataclass(frozen=True, kw_only=True)
class Module:
    """A compiled program."""

    computations: dict[str, tuple[Instruction, ...]]
    entry: str
    num_lines: int

    @cached_property
    def by_name(self) -> dict[str, Instruction]:
        """Every instruction under its name."""
        return {instruction.name: instruction for instruction in self.walk()}

    def run_by(self, instruction: Instruction) -> list[Instruction]:
        """Return what the computations hold that an instruction calls."""
        return [part for name in instruction.called for part in self.computations.get(name, ())]

    def walk(self) -> Iterator[Instruction]:
        """Yield every instruction once, whatever runs it how often."""
        for instructions in self.computations.values():
            yield from instructions


def parse_module(text: str) -> Module:
    """Return the computations of an optimized module's text."""
    computations: dict[str, tuple[Instruction, ...]] = {}
    entry, name, body = "", "", list[Instruction]()
    lines = text.splitlines()
    for line in lines:
        header = _HEADER.match(line) if line and not line[0].isspace() else None
        if header:
            name, body = header[2], []
            entry = name if header[1] else entry
        elif line.startswith("}"):
            computations[name] = tuple(body)
        elif found := _INSTRUCTION.match(line):
            body.append(
                Instruction(
                    name=found[2],
                    opcode=found[4],
                    shapes=tuple(_shapes(found[3])),
                    operands=found[5],
                    stored=tuple(_stored(found[3])),
                )
            )
    return Module(computations=computations, entry=entry, num_lines=len(lines))


def shape_bytes(dtype: str, dims: tuple[int, ...]) -> int:
    """Return the bytes of an array without its padding."""
    bits = _BITS.search(dtype)
    return math.prod(dims) * max(int(bits[0]) if bits else 8, 8) // 8


def _shapes(text: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    for dtype, dims, _ in _SHAPE.findall(text):
        yield dtype, _dims(dims)


def _dims(text: str) -> tuple[int, ...]:
    return tuple(int(dim) for dim in text.split(",") if dim)


def _stored(text: str) -> Iterator[int]:
    """Read layouts such as {1,0:T(8,128)(2,1)S(1)}: the order of axes, tiles, the memory space."""
    for dtype, dims, layout in _SHAPE.findall(text):
        order, _, tiling = layout.partition(":")
        tile = _TILE.search(tiling)
        sides = list(_dims(dims))
        if tile and sides:
            innermost = zip(_dims(order), reversed(_dims(tile[1])), strict=False)
            for axis, side in innermost:
                sides[axis] += -sides[axis] % side
        yield 0 if "S(" in tiling else shape_bytes(dtype, tuple(sides))


def _group_size(text: str) -> int:
    """Read replica_groups in its three spellings: a mesh's axes, an iota, or lists of devices."""
    if found := re.search(r"replica_groups=mesh\[([^\]]*)\] \{([^}]*)\}", text):
        sizes = dict(re.findall(r"'([^']+)'=(\d+)", found[1]))
        return math.prod(int(sizes.get(axis, 1)) for axis in re.findall(r"'([^']+)'", found[2]))
    if found := re.search(r"replica_groups=\[\d+,(\d+)\]", text):
        return int(found[1])
    if found := re.search(r"replica_groups=\{\{([\d,]*)\}", text):
        return found[1].count(",") + 1
    return 1
