"""Hardware that need not be there: TPU topologies to compile for, and what a chip can do.

`tpu_devices("v5p:4x4x4")` asks libtpu, on any Linux machine, for the 64 devices of that slice:
JAX can lower and compile for them, but not run. Raises UsageError, with the names that are known,
for a topology that does not exist, and without libtpu.

Figures of a chip are the vendors' (cloud.google.com/tpu/docs, "TPU versions"; NVIDIA's H200 data
sheet); a link's bandwidth is one direction's of one axis, as jax-ml.github.io/scaling-book has it.
"""

import importlib.util
import os
import re
from dataclasses import dataclass
from typing import Any

from mdx.errors import UsageError

GPU = "h200"  # its generation, of which a topology is a number
_GIB = 1 << 30


@dataclass(frozen=True, kw_only=True)
class Chip:
    """What one device of a generation has; for tpu7x a device is one of a chip's two cores."""

    hbm_bytes: int  # that a program may use
    peak_flops: float  # bfloat16, per second
    hbm_bandwidth: float  # bytes per second
    link_bandwidth: float  # bytes per second, one axis, one direction
    clock_hz: float  # that the compiler's cycles count
    cores: int = 1  # that share a device's work

    @property
    def vector_ops(self) -> float:
        """Operations on float32 a second: 8 x 128 lanes of four arithmetic units a core."""
        return 8 * 128 * 4 * self.cores * self.clock_hz


CHIPS = {
    "v5e": Chip(
        hbm_bytes=int(15.75 * _GIB),
        peak_flops=197e12,
        hbm_bandwidth=819e9,
        link_bandwidth=45e9,
        clock_hz=1.5e9,
    ),
    "v5p": Chip(
        hbm_bytes=int(95.74 * _GIB),
        peak_flops=459e12,
        hbm_bandwidth=2765e9,
        link_bandwidth=90e9,
        clock_hz=1.75e9,
        cores=2,
    ),
    "v6e": Chip(
        hbm_bytes=int(31.25 * _GIB),
        peak_flops=918e12,
        hbm_bandwidth=1640e9,
        link_bandwidth=90e9,
        clock_hz=1.75e9,
    ),
    "tpu7x": Chip(
        hbm_bytes=int(94.75 * _GIB),
        peak_flops=1153e12,
        hbm_bandwidth=3690e9,
        link_bandwidth=90e9,
        clock_hz=1.9e9,
    ),
    GPU: Chip(
        hbm_bytes=int(0.92 * 141e9),
        peak_flops=989e12,
        hbm_bandwidth=4800e9,
        link_bandwidth=450e9,
        clock_hz=1.98e9,
    ),
}
# Slices whose axes are rings; smaller ones are meshes. (Without the rings the compiler replaces
# every all-gather by an all-reduce of twice the bytes.)
_RING = {"v5e": 16, "v5p": 4, "v6e": 16, "tpu7x": 4}
EXAMPLES = {
    "v5e": "2x2, 2x4, 4x4, 4x8, 8x8, 8x16, 16x16",
    "v5p": "2x2x1, 2x2x2, 2x2x4, 2x4x4, 4x4x4, 4x4x8, 8x8x8",
    "v6e": "2x2, 2x4, 4x4, 4x8, 8x8, 8x16, 16x16",
    "tpu7x": "2x2x1, 2x2x2, 2x2x4, 2x4x4, 4x4x4",
}


@dataclass(frozen=True, kw_only=True)
class Topology:
    """A slice of one generation."""

    name: str
    generation: str
    sides: tuple[int, ...]

    @property
    def chip(self) -> Chip:
        """What each device has."""
        return CHIPS[self.generation]

    @property
    def num_devices(self) -> int:
        """Devices of the slice: chips, or twice as many on tpu7x."""
        count = 2 if self.generation == "tpu7x" else 1
        for side in self.sides:
            count *= side
        return count

    @property
    def rings(self) -> tuple[bool, ...]:
        """Which of the three axes are closed to rings."""
        sides = (*self.sides, 1, 1)[:3]
        ring = _RING.get(self.generation, 0)
        if self.generation in ("v5p", "tpu7x"):  # cubes of 4 are joined by optical switches
            return tuple(all(side % ring == 0 for side in self.sides) for _ in sides)
        return tuple(side == ring for side in sides)


def parse_topology(name: str) -> Topology:
    """Return the topology called `name`, such as v5p:4x4x4, or h200:1 for that many H200."""
    generation, _, rest = name.partition(":")
    sides = (
        tuple(int(side) for side in rest.split("x")) if re.fullmatch(r"\d+(x\d+)*", rest) else ()
    )
    if generation == GPU and len(sides) == 1 and 1 <= sides[0] <= 8:
        return Topology(name=name, generation=generation, sides=sides)
    dims = {"v5e": 2, "v6e": 2, "v5p": 3, "tpu7x": 3}
    if dims.get(generation) != len(sides) or 0 in sides:
        known = "; ".join(f"{key}:{value}" for key, value in EXAMPLES.items())
        raise UsageError(f"--topology {name!r} is not known: choose one of {known}; h200:1")
    return Topology(name=name, generation=generation, sides=sides)


def tpu_devices(topology: Topology) -> list[Any]:
    """Return the devices of a TPU slice, to compile for."""
    if importlib.util.find_spec("libtpu") is None:
        raise UsageError(
            "to compile for a TPU, plan needs the package libtpu: pip install 'mdx-stack[plan]'"
        )
    # libtpu reads these when it is loaded: there is no machine to ask, nothing to log.
    for variable, value in {
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_ACCELERATOR_TYPE": "v5litepod-8",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "true",
        "TPU_LOG_DIR": "disabled",
        "TPU_MIN_LOG_LEVEL": "3",
        "TPU_STDERR_LOG_LEVEL": "3",
    }.items():
        os.environ.setdefault(variable, value)
    from jax.errors import JaxRuntimeError
    from jax.experimental import topologies

    try:
        found = topologies.get_topology_desc(topology.name, "tpu", wrap=topology.rings)
    except (JaxRuntimeError, RuntimeError) as error:
        known = EXAMPLES[topology.generation]
        raise UsageError(
            f"--topology {topology.name} does not exist: {topology.generation} comes as {known}"
        ) from error
    return list(found.devices)
