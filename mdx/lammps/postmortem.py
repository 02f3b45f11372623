"""The state of the system after a script, and its energy with the potential that was asked for.

Called in the process that ran the script, right after it. The script may have left anything behind
(fixes, excluded neighbours, a redefined thermo style), so the requested potential is evaluated in a
clean room: atoms and box are copied, LAMMPS is cleared, and the same configuration is built again
with nothing but the requested potential. The energy that the script's own potential gave to this
configuration is the last value of the last `ProbedRun`; scoring compares the two.

`final_state` ends the instance's usefulness: the script's own state is gone afterwards. After a
script error pass no potential, so that nothing is run on a state LAMMPS may have left half-built.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mdx.lammps.library import Box, LammpsError, LammpsLibrary
from mdx.lammps.run import FinalState
from mdx.tasks.task import Potential

_MAX_ATOMS_NSQ = 1000
_SKINS = {"metal": 2.0, "real": 2.0, "lj": 0.3}  # LAMMPS's defaults


@dataclass(frozen=True, kw_only=True)
class _Configuration:
    units: str
    dimension: int
    num_types: int
    types: Sequence[int]
    positions: Sequence[float]
    box: Box


def final_state(lammps: LammpsLibrary, potential: Potential | None) -> FinalState | None:
    """Return the state after the script; None if there is no simulation box.

    `requested_potential_energy`, `max_force` and `num_forceless` come from the clean room; they are
    None without a potential or where LAMMPS cannot apply it to this system (say, the script has
    other atom types).
    """
    if lammps.extract_setting("box_exist") != 1:
        return None
    configuration = _copy(lammps)
    types = Counter(configuration.types)
    sound_box = all(map(math.isfinite, configuration.box.lengths))
    state = FinalState(
        units=configuration.units,
        step=lammps.global_step(),
        num_atoms=len(configuration.types),
        num_types=configuration.num_types,
        pair_style=lammps.global_string("pair_style") or "none",
        fixes=lammps.ids("fix"),
        box_lengths=configuration.box.lengths if sound_box else (0.0, 0.0, 0.0),
        masses=tuple(mass if math.isfinite(mass) else 0.0 for mass in lammps.masses()),
        type_counts=tuple(types[t + 1] for t in range(configuration.num_types)),
        group_counts=_group_counts(lammps),
        finite=sound_box and math.isfinite(sum(configuration.positions)),
    )
    if potential is None or not configuration.types or not state.finite:
        return state
    return _with_requested_potential(lammps, potential, configuration, state)


def _copy(lammps: LammpsLibrary) -> _Configuration:
    return _Configuration(
        units=lammps.global_string("units"),
        dimension=lammps.extract_setting("dimension"),
        num_types=lammps.extract_setting("ntypes"),
        types=lammps.atom_ints("type"),
        positions=lammps.atom_vectors("x"),
        box=lammps.box(),
    )


def _group_counts(lammps: LammpsLibrary) -> dict[str, int]:
    """Count each group's atoms: bit i of an atom's mask says whether it is in the i-th group."""
    masks = Counter(lammps.atom_ints("mask"))
    return {
        name: sum(count for mask, count in masks.items() if mask >> bit & 1)
        for bit, name in enumerate(lammps.ids("group"))
    }


def _with_requested_potential(
    lammps: LammpsLibrary, potential: Potential, configuration: _Configuration, state: FinalState
) -> FinalState:
    try:
        _rebuild(lammps, configuration)
        lammps.command(f"pair_style {potential.style}")
        for coeff in potential.coeffs:
            lammps.command(f"pair_coeff {coeff}")
        lammps.command("run 0 post no")
        energy = lammps.get_thermo("pe")
    except LammpsError:
        return state
    forces = lammps.atom_vectors("f")
    finite = math.isfinite(energy) and math.isfinite(sum(map(abs, forces)))
    if not finite:
        return replace(state, finite=False)
    triples = zip(forces[0::3], forces[1::3], forces[2::3], strict=True)
    return replace(
        state,
        requested_potential_energy=energy,
        max_force=max(map(abs, forces), default=0.0),
        num_forceless=sum(f == (0.0, 0.0, 0.0) for f in triples),
    )


def _rebuild(lammps: LammpsLibrary, configuration: _Configuration) -> None:
    """Build the configuration in a cleared LAMMPS; raises LammpsError, also for atoms lost."""
    box = configuration.box
    lengths = " ".join(f"{a:.17g} {b:.17g}" for a, b in zip(box.low, box.high, strict=True))
    tilted, skin = any(box.tilt), _SKINS.get(configuration.units)
    shape = f"prism {lengths} " + " ".join(f"{t:.17g}" for t in box.tilt) if tilted else None
    commands = [
        "clear",
        f"units {configuration.units}",
        f"dimension {configuration.dimension}",
        "boundary " + " ".join("p" if periodic else "s" for periodic in box.periodic),
        "atom_modify map array sort 0 0.0",
        *(["box tilt large"] if tilted else []),
        f"region whole {shape or 'block ' + lengths} units box",
        f"create_box {configuration.num_types} whole",
        "mass * 1.0",
        # binned lists miss pairs of some perfect lattices that end on a bin's border
        *([f"neighbor {skin} nsq"] if skin and len(configuration.types) <= _MAX_ATOMS_NSQ else []),
        "thermo_style one",
        "thermo_modify norm no",
    ]
    for command in commands:
        lammps.command(command)
    if lammps.create_atoms(configuration.types, configuration.positions) != len(
        configuration.types
    ):
        raise LammpsError("ERROR: atoms were lost in building the final configuration again")
