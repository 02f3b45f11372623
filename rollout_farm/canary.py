"""A script whose right answer is known: the proof that a slot still computes.

The energy of a perfect Lennard-Jones crystal at this density and cut-off is printed by LAMMPS's
own `melt` example; after ten steps the total energy must be what it was. A slot that says
otherwise is broken, and what it ran since the last time it was right may be wrong too.
"""

import math

from mdx.errors import FarmError
from mdx.lammps.run import RunLimits, RunRequest, RunStatus
from rollout_farm.outcome import to_result
from rollout_farm.slot import Slot, SlotLostError

_SCRIPT = """units lj
lattice fcc 0.8442
region box block 0 3 0 3 0 3
create_box 1 box
create_atoms 1 box
mass 1 1.0
velocity all create 1.44 87287
pair_style lj/cut 2.5
pair_coeff 1 1 1.0 1.0
fix 1 all nve
timestep 0.001
thermo_style custom step pe etotal
thermo 10
run 10
"""
_CRYSTAL_ENERGY = -6.7733681  # per atom, of the melt example at step 0
_DRIFT = 1e-3
_REQUEST = RunRequest(
    script=_SCRIPT, limits=RunLimits(wall_time_s=30.0, cpu_time_s=30.0, memory_bytes=256 << 20)
)


def check(slot: Slot) -> None:
    """Run the known script on an idle slot; raises FarmError where the answer is not right."""
    try:
        result = to_result(_REQUEST, slot.run(_REQUEST), queue_s=0.0, hello=slot.hello)
    except SlotLostError as error:
        raise FarmError(f"a slot did not run a known script: {error}") from error
    if result.status is not RunStatus.OK:
        raise FarmError(f"a slot failed a known script: {result.status}: {result.error}")
    rows = [row for table in result.thermo for row in table.rows]
    energies = [value for row in rows for value in row[1:] if value is not None]
    if len(energies) != 4:
        raise FarmError(f"a slot printed {len(rows)} thermo lines for a known script, not 2")
    start, first_total, _, last_total = energies
    if not math.isclose(start, _CRYSTAL_ENERGY, rel_tol=1e-6) or (
        abs(last_total - first_total) > _DRIFT
    ):
        raise FarmError(f"a slot got a known script wrong: {', '.join(map(str, energies))}")
