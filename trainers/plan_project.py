"""From a schedule to seconds: a projection of a step's time on a TPU, for ranking set-ups.

The instructions of every computation run one after another:

* products and copies take the compiler's own cycle estimate over the clock, element-wise fusions
  and sums their bytes over the memory's bandwidth or their operations (`trainers.plan_roofline`);
  where the compiler has no estimate, the result's bytes count twice;
* splash attention, which the compiler prices at nothing, takes its causal FLOPs over the share of
  the peak that `SPLASH_SHARE` says;
* a loop takes its trips times its body in the steady state, a conditional its longest branch;
* a collective takes (n - 1) / n of its bytes over the links of the axes it spans, in both
  directions of rings; an all-reduce twice that. Asynchronous ones queue on the links and cost only
  what is left of them when their result is wanted.

The sum is divided by 0.9, since such models are about a tenth too fast. That figure is taken over
from a prototype; this projection was not held against a measured step (docs/howto/plan.md).
"""

import math
import re
from dataclasses import dataclass, field

from trainers.plan_hlo import COLLECTIVES, Instruction, Module, shape_bytes
from trainers.plan_roofline import elementwise_seconds, is_elementwise
from trainers.plan_topology import Topology

OPTIMISM = 0.9
# Share of the peak that the kernel reaches, forward and backward: heads are 128 wide, which is half
# of the matrix unit of v6e and tpu7x.
SPLASH_SHARE = {
    "v5e": (0.5, 0.55),
    "v5p": (0.5, 0.55),
    "v6e": (0.29, 0.35),
    "tpu7x": (0.29, 0.35),
}
_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "iota", "after-all"}
_START, _DONE = "AsyncCollectiveStart", "AsyncCollectiveDone"


@dataclass(frozen=True, kw_only=True)
class Projection:
    """Seconds of a step, what they are spent on, and the collectives of one device."""

    seconds: float
    parts: dict[str, float]
    collectives: dict[str, dict[str, float]]  # kind -> count and bytes, trips included


@dataclass(kw_only=True)
class _Clock:
    """Where a simulated device stands: its own time, and until when its links are busy."""

    now: float = 0.0
    links_free: float = 0.0
    pending: dict[str, float] = field(default_factory=dict)  # channel -> when it will have come


def project(module: Module, topology: Topology, *, loop_trips: int = 1) -> Projection:
    """Return the projection. `loop_trips` are those of loops whose count is no constant."""
    simulation = _Simulation(module, topology, loop_trips)
    clock = _Clock()
    simulation.run(module.entry, clock, 1.0)
    parts = {name: seconds / OPTIMISM for name, seconds in simulation.parts.items()}
    return Projection(seconds=clock.now / OPTIMISM, parts=parts, collectives=simulation.collectives)


def trip_count(module: Module, loop: Instruction, otherwise: int) -> int:
    """Return how often a loop runs: the constant that its condition compares with."""
    if loop.trip_count is not None:
        return loop.trip_count
    found = re.search(r"condition=%?([\w.\-]+)", loop.operands)
    condition = module.computations.get(found[1], ()) if found else ()
    limits = [
        int(match[1])
        for instruction in condition
        if instruction.opcode == "constant" and instruction.shapes[0][0] == "s32"
        if (match := re.match(r"(\d+)\)", instruction.operands))
    ]
    return max(limits, default=otherwise)


class _Simulation:
    def __init__(self, module: Module, topology: Topology, loop_trips: int) -> None:
        self._module = module
        self._topology = topology
        self._loop_trips = loop_trips
        self._num_heads = splash_heads(module)
        self.parts: dict[str, float] = {}
        self.collectives: dict[str, dict[str, float]] = {}

    def run(self, name: str, clock: _Clock, times: float) -> None:
        """Let one computation pass; `times` says how often it runs in a step, for the sums."""
        for instruction in self._module.computations[name]:
            if instruction.opcode == "while":
                self._loop(instruction, clock, times)
            elif instruction.opcode == "conditional":
                self._branch(instruction, clock, times)
            elif instruction.opcode == "call":
                self.run(instruction.called[0], clock, times)
            elif instruction.opcode not in _FREE:
                self._step(instruction, clock, times)

    def _loop(self, loop: Instruction, clock: _Clock, times: float) -> None:
        """Run the body twice: the first time, and as often as it is left like the second."""
        trips = trip_count(self._module, loop, self._loop_trips)
        body = loop.called[0]
        self.run(body, clock, times)
        if trips > 1:
            before = clock.now
            self.run(body, clock, times * (trips - 1))
            more = (clock.now - before) * (trips - 2)
            clock.now += more
            clock.links_free += more
            clock.pending = {channel: until + more for channel, until in clock.pending.items()}

    def _branch(self, conditional: Instruction, clock: _Clock, times: float) -> None:
        longest = max(conditional.called, key=self._alone)
        self.run(longest, clock, times)

    def _alone(self, name: str) -> float:
        other = _Simulation(self._module, self._topology, self._loop_trips)
        clock = _Clock()
        other.run(name, clock, 1.0)
        return clock.now

    def _step(self, instruction: Instruction, clock: _Clock, times: float) -> None:
        inner = self._inner(instruction)
        targets = {part.custom_target for part in inner}
        collective = next((part for part in (instruction, *inner) if kind_of(part)), None)
        if collective is not None:
            scattered = any(part.opcode == "dynamic-slice" for part in inner)
            if _START in targets or instruction.opcode.endswith("-start"):
                self._start(collective, clock, times, scattered)
            elif instruction.opcode.endswith("-done"):
                self._wait(collective.channel, clock, times)
            elif _DONE not in targets and collective.channel not in clock.pending:
                self._start(collective, clock, times, scattered)
                self._wait(collective.channel, clock, times)
        kind, seconds = self._compute(instruction)
        if targets & {_START, _DONE} and kind != "products":
            seconds = 0.0  # the links do the work; the result's bytes are theirs
        clock.now += seconds
        self._add(kind, seconds * times)
        if collective is not None and _DONE in targets:
            self._wait(collective.channel, clock, times)

    def _inner(self, instruction: Instruction) -> list[Instruction]:
        """Return what an instruction runs, or has run since it was started on a sparse core."""
        if instruction.opcode == "call-done":
            instruction = self._module.by_name[instruction.operand_names[0]]
        return self._module.run_by(instruction)

    def _start(self, collective: Instruction, clock: _Clock, times: float, scattered: bool) -> None:
        """Put a collective on the links.

        A TPU's reduce-scatter is a fusion of an all-reduce and of the slice of its result that a
        device keeps: `scattered`.
        """
        kind = kind_of(collective)
        size = collective.result_bytes
        if kind == "all-reduce" and scattered:
            kind = "reduce-scatter"
        elif kind == "reduce-scatter":
            size *= collective.group_size
        elif collective.opcode.endswith("-start"):
            size = max(shape_bytes(*shape) for shape in collective.shapes)
        record = self.collectives.setdefault(kind, {"count": 0, "bytes": 0})
        record["count"] += times
        record["bytes"] += times * size
        seconds = link_seconds(kind, size, collective.group_size, self._topology)
        clock.links_free = max(clock.links_free, clock.now) + seconds
        clock.pending[collective.channel] = clock.links_free

    def _wait(self, channel: str, clock: _Clock, times: float) -> None:
        exposed = max(clock.pending.pop(channel, clock.now) - clock.now, 0.0)
        clock.now += exposed
        self._add("collectives", exposed * times)

    def _compute(self, instruction: Instruction) -> tuple[str, float]:
        chip = self._topology.chip
        if instruction.custom_target == "tpu_custom_call":
            return "attention", splash_seconds(instruction, self._topology, self._num_heads)
        in_one_pass = instruction.opcode in ("fusion", "reduce", "broadcast")
        if in_one_pass and is_elementwise(self._module, instruction, chip):
            return "elementwise", elementwise_seconds(self._module, instruction, chip)
        if instruction.cycles:
            kind = "copies" if instruction.opcode.startswith("copy") else "products"
            return kind, instruction.cycles / chip.clock_hz
        if instruction.opcode in ("fusion", "copy", "convolution", "dot", "sort", "convert"):
            return "memory", 2 * instruction.result_bytes / chip.hbm_bandwidth
        return "memory", 0.0

    def _add(self, kind: str, seconds: float) -> None:
        self.parts[kind] = self.parts.get(kind, 0.0) + seconds


def kind_of(instruction: Instruction) -> str:
    """Return the kind of a collective, or "" for anything else."""
    name = instruction.opcode.removesuffix("-start").removesuffix("-done")
    return name if name in COLLECTIVES else ""


def link_seconds(kind: str, size: float, group: int, topology: Topology) -> float:
    """Return what a collective of `size` bytes (gathered or to be reduced) takes alone."""
    if group <= 1:
        return 0.0
    spanned, devices, links = 0, 1, 0.0
    for side, ring in sorted(zip(topology.sides, topology.rings, strict=False), reverse=True):
        if devices >= group:
            break
        if side > 1:
            devices, spanned, links = devices * side, spanned + 1, links + (2 if ring else 1)
    passes = 2 if kind == "all-reduce" else 1
    links = 1 if kind == "collective-permute" else max(links, 1)
    return passes * size * (group - 1) / group / (links * topology.chip.link_bandwidth)


def splash_seconds(kernel: Instruction, topology: Topology, num_heads: int) -> float:
    """Return the time of one splash kernel of `num_heads` query heads from its causal FLOPs.

    A product of all pairs of tokens takes T^2 N H of them a row. Forward there are two products,
    backward five, or three for the queries' gradients and four for the others' where each has a
    kernel of its own.
    """
    results = _splash_results(kernel)
    if not results:
        return 0.0
    *batch, _, length, width = results[-1]  # an earlier one may be partial sums, with more dims
    forward, backward = SPLASH_SHARE[topology.generation]
    if "fwd" in kernel.name:
        products, share = 2, forward
    elif len(results) == 3:
        products, share = 5, backward
    else:
        products, share = 4 if "dkv" in kernel.name else 3, backward
    flops = math.prod(batch) * products * num_heads * length**2 * width
    return flops / (share * topology.chip.peak_flops)


def splash_heads(module: Module) -> int:
    """Return the query heads on a device: a kernel for keys' gradients does not show them."""
    return max(
        (
            dims[-3]
            for instruction in module.walk()
            if "fwd" in instruction.name
            for dims in _splash_results(instruction)
        ),
        default=0,
    )


def _splash_results(kernel: Instruction) -> list[tuple[int, ...]]:
    """Return the dims of what a splash kernel is run for; empty for other instructions."""
    if not kernel.name.startswith("splash") or kernel.custom_target != "tpu_custom_call":
        return []
    return [dims for dtype, dims in kernel.shapes if dtype == "bf16" and len(dims) >= 3]
