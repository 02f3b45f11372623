"""Measure what `materials.json` and `more.json` say of each material, with the installed LAMMPS.

    python -m mdx.tasks.measure more.json --only Cu,Pb    # after a new entry or a new LAMMPS

An entry that is new needs its names, elements, masses, structure, potential, `max_temperature`,
`timestep` and a `lattice_constant` within 1 %; what else is missing is measured and written back
(to measure again, delete it), one process an entry. Energies are static, in eV per atom; volumes
are averages over NPT.
"""

import argparse
import json
import multiprocessing
import os
import sys
import time
from pathlib import Path
from typing import Any

from mdx.lammps.library import Lammps, LammpsError, potentials_dir
from mdx.tasks.materials import CRYSTALS, Material, crystal_commands, potential_commands

Entry = dict[str, Any]
_UNMEASURED: Entry = {
    "energy_curve": [],
    "volume_at": [],
    "energy_per_atom": 0.0,
    "volume_per_atom": 0.0,
    "cost_us": 1.0,
}
CURVE = [round(0.96 + 0.005 * i, 3) for i in range(21)]  # of the lattice constant
STRAINS = (-2, -1, 1, 2)  # percent
NPT_STEPS = (700, 1400)  # to equilibrate, to average
NUM_SAMPLES = 70
_SLOW_US = 12.0  # per atom and step: too slow to be relaxed often
_SLOWEST_NPT_US = 8.0
_OTHER_PHASE = {"fcc": "bcc", "bcc": "fcc"}


def measure(entry: Entry) -> Entry:
    """Return the entry with everything measured; raises LammpsError."""
    given = entry
    entry = {**_UNMEASURED, **entry}
    a = given["lattice_constant"] if "energy_curve" in given else _lattice_constant(entry)
    entry["lattice_constant"] = a
    material = _material(entry)
    with _Bench(material) as bench:
        bench.build()
        entry["energy_per_atom"] = round(bench.energy(), 5)
        entry["volume_per_atom"] = round(bench.get("vol") / bench.get("atoms"), 4)
        entry["cost_us"] = round(bench.cost_us(), 2)
        bench.material = _material(entry)
        entry["energy_curve"] = [[b, round(bench.energy_at(b), 5)] for b in _curve(a)]
        if entry["cost_us"] <= _SLOW_US:
            entry |= _statics(bench, entry)
        if entry["cost_us"] <= _SLOWEST_NPT_US and not given.get("volume_at"):
            hottest = entry["max_temperature"]
            volumes = [[t, bench.volume_at(t)] for t in (hottest // 3, hottest)]
            entry["volume_at"] = [[t, round(v, 4)] for t, v in volumes]
    return {**entry, **given, "lattice_constant": a}


class _Bench:
    """LAMMPS with one material on it, built anew for each measurement."""

    def __init__(self, material: Material):
        self.material = material
        self.lammps = Lammps()
        self.cells = (4, 4, 4) if len(material.crystal.basis) == 2 else (3, 3, 3)

    def __enter__(self) -> "_Bench":
        return self

    def __exit__(self, *_: object) -> None:
        self.lammps.close()

    def get(self, name: str) -> float:
        return self.lammps.get_thermo(name)

    def run(self, *commands: str) -> None:
        self.lammps.commands([*commands])

    def build(self, lattice_constant: float | None = None, *changes: str) -> None:
        """Build the crystal with its potential; `changes` come between the two."""
        crystal = crystal_commands(self.material, self.cells, lattice_constant)
        potential = potential_commands(self.material)
        self.run("clear", *crystal, *changes, *potential, "thermo_modify norm no")

    def energy(self, relax: bool = False) -> float:
        """Return the potential energy per atom, after a minimisation if asked for."""
        self.run("minimize 0 1e-5 400 4000" if relax else "run 0")
        return self.get("pe") / self.get("atoms")

    def energy_at(self, lattice_constant: float) -> float:
        self.build(lattice_constant)
        return self.energy()

    def cost_us(self) -> float:
        """Return the time of one step of one atom."""
        num_steps = 50
        self.run("velocity all create 200 4928", "fix 1 all nve", "run 5")
        start = time.process_time()
        self.run(f"run {num_steps}")
        return 1e6 * (time.process_time() - start) / num_steps / self.get("atoms")

    def volume_at(self, temperature: float) -> float:
        """Return the mean volume per atom at zero pressure; raises LammpsError if it melts."""
        self.build()
        self.run(
            f"velocity all create {2 * temperature:g} 4928",
            f"timestep {self.material.timestep:g}",
            f"fix 1 all npt temp {temperature:g} {temperature:g} 0.1 iso 0 0 0.5",
            f"run {NPT_STEPS[0]}",
        )
        volumes = []
        for _ in range(NUM_SAMPLES):
            self.run(f"run {NPT_STEPS[1] // NUM_SAMPLES}")
            volumes.append(self.get("vol") / self.get("atoms"))
        volume = sum(volumes) / NUM_SAMPLES
        if not 0.97 < volume / self.material.volume_per_atom < 1.12:
            raise LammpsError(f"{self.material.name} is no solid at {temperature:g} K")
        return volume


def _statics(bench: _Bench, entry: Entry) -> Entry:
    """Return strained, defect and other-phase energies, those that the structure has."""
    found: Entry = {"uniaxial_energy": [], "shear_energy": []}
    for percent in STRAINS:
        bench.build(None, f"change_box all x scale {1 + percent / 100:g} remap")
        found["uniaxial_energy"].append([percent, round(bench.energy(relax=True), 6)])
    length = bench.cells[0] * entry["lattice_constant"]
    for percent in (1, 2, 3):
        tilt = f"change_box all xy delta {percent / 100 * length:g} remap units box"
        bench.build(None, "change_box all triclinic", tilt)
        found["shear_energy"].append([percent, round(bench.energy(relax=True), 6)])
    structure = entry["structure"]
    if structure in _OTHER_PHASE:
        found |= _defects(bench, entry) | _other_phase(entry)
    return found


def _defects(bench: _Bench, entry: Entry) -> Entry:
    """Return vacancy, octahedral interstitial and (001) surface energies."""
    bulk, a = bench.material.energy_per_atom, entry["lattice_constant"]
    bench.build(None, "group hole id 1", "delete_atoms group hole")
    vacancy = (bench.energy(relax=True) - bulk) * bench.get("atoms")
    site = "0.5 0.5 0.5" if entry["structure"] == "fcc" else "0.5 0.5 0"
    bench.build(None, f"create_atoms 1 single {site}")
    interstitial = (bench.energy(relax=True) - bulk) * bench.get("atoms")
    bench.build(None, "change_box all z delta 0 15 units box")
    surface = (bench.energy(relax=True) - bulk) * bench.get("atoms")
    area = 2 * bench.cells[0] * bench.cells[1] * a * a
    return {
        "vacancy_energy": round(vacancy, 4),
        "interstitial_energy": round(interstitial, 4),
        "surface_energy": round(surface / area, 5),
    }


def _other_phase(entry: Entry) -> Entry:
    """Return the lattice constant of the other cubic structure at equal volume, and its energy."""
    structure = _OTHER_PHASE[entry["structure"]]
    a = round((entry["volume_per_atom"] * len(CRYSTALS[structure].basis)) ** (1 / 3), 2)
    with _Bench(_material({**entry, "structure": structure, "lattice_constant": a})) as bench:
        return {"other_phase": [a, round(bench.energy_at(a), 5)]}


def _lattice_constant(entry: Entry) -> float:
    """Return the lattice constant of lowest static energy, to a thousandth of an Angstrom."""
    start = entry["lattice_constant"]
    with _Bench(_material(entry)) as bench:
        energies = {d: bench.energy_at(start * (1 + d)) for d in (-0.01, 0.0, 0.01)}
        low, mid, high = energies.values()
        shift = 0.01 * (low - high) / (2 * (low - 2 * mid + high))
        guess = round(start * (1 + max(-0.02, min(0.02, shift))), 3)
        near = [round(guess + 0.001 * i, 3) for i in range(-8, 9)]
        return min(near, key=bench.energy_at)


def _curve(a: float) -> list[float]:
    return sorted({round(a * scale, 2) for scale in CURVE})


def _material(entry: Entry) -> Material:
    names = ("other_phase", "uniaxial_energy", "shear_energy")
    known = {name: value for name, value in entry.items() if name not in names}
    return Material(**{**known, "elements": tuple(entry["elements"])})


def _measured(entry: Entry) -> Entry:
    """Measure; an entry that fails is reported and stays as it is."""
    while True:
        try:
            return measure(entry)
        except LammpsError as error:
            if "is no solid" not in str(error) or entry["max_temperature"] < 150:
                sys.stderr.write(f"{entry['name']} {entry['coeff']}: {error}\n")
                return entry
            entry = {**entry, "max_temperature": int(0.75 * entry["max_temperature"])}


def main() -> None:
    """Measure the entries of one file of this folder and write it again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file")
    parser.add_argument("--only", default="", help="names, separated by commas; all if not given")
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    path = Path(__file__).with_name(arguments.file)
    only = set(arguments.only.split(",")) - {""}
    os.environ["LAMMPS_POTENTIALS"] = potentials_dir()
    entries = json.loads(path.read_text(encoding="utf-8"))
    chosen = [entry for entry in entries if not only or entry["name"] in only]
    with multiprocessing.get_context("fork").Pool(arguments.processes, maxtasksperchild=1) as pool:
        for measured in pool.imap_unordered(_measured, chosen, chunksize=1):
            entries = [measured if _key(e) == _key(measured) else e for e in entries]
            lines = ",\n ".join(json.dumps(e, ensure_ascii=False) for e in entries)
            path.write_text(f"[\n {lines}\n]\n", encoding="utf-8")


def _key(entry: Entry) -> tuple[str, str]:
    return entry["name"], entry["coeff"]


if __name__ == "__main__":
    main()
