"""Materials: measured facts agree with LAMMPS, counts with enumeration."""

import math

import pytest

from mdx.lammps.run import RunRequest, RunStatus
from mdx.tasks.materials import (
    CRYSTALS,
    crystal_commands,
    default_materials,
    materials,
    num_atoms,
    potential_commands,
    sites_in_sphere,
)
from rollout_farm.client import Farm


def static_script(material, cells) -> str:
    commands = [*crystal_commands(material, cells), *potential_commands(material), "run 0"]
    return "\n".join(commands) + "\n"


def test_energies_and_atoms_are_those_of_lammps(farm: Farm):
    cells = (2, 3, 2)
    requests = [RunRequest(script=static_script(m, cells)) for m in materials("all")]
    for material, future in zip(materials("all"), list(map(farm.submit, requests)), strict=True):
        result = future.result()
        assert result.status is RunStatus.OK, (material.name, result.error)
        [run] = result.evidence.runs
        assert run.num_atoms_after == num_atoms(material, cells)
        energy = run.series["potential_energy"][-1] / run.num_atoms_after
        assert energy == pytest.approx(material.energy_per_atom, abs=2e-5), material.name
        volume = run.series["volume"][-1] / run.num_atoms_after
        assert volume == pytest.approx(material.volume_per_atom, rel=1e-4)
        masses = result.evidence.final.masses
        assert masses == pytest.approx(material.masses, rel=2e-3), material.name


def test_at_least_fifty_materials_with_ninety_potentials_and_one_default_each():
    names = [m.name for m in default_materials("all")]
    assert len(set(names)) == len(names) >= 50
    assert len({(m.style, m.coeff) for m in materials("all")}) >= 90
    assert {m.name for m in materials("all")} == set(names)


def test_entries_that_a_text_could_confuse_differ_in_their_file():
    keys = [(m.name, m.potential_file) for m in materials("all")]
    assert len(set(keys)) == len(keys)


def test_energy_curve_has_its_minimum_at_the_lattice_constant():
    for material in materials("all"):
        best = min(material.energy_curve, key=lambda point: point[1])
        assert best[0] == pytest.approx(material.lattice_constant, rel=0.006), material.name
        assert best[1] >= material.energy_per_atom - 2e-4


def test_volume_is_interpolated_between_measurements():
    copper = materials("all")[0]
    (t1, v1), (t2, v2) = copper.volume_at
    assert copper.volume_per_atom_at(0) == copper.volume_per_atom
    assert copper.volume_per_atom_at(t1) == pytest.approx(v1)
    assert copper.volume_per_atom_at((t1 + t2) / 2) == pytest.approx((v1 + v2) / 2)
    with pytest.raises(ValueError, match="measured up to"):
        copper.volume_per_atom_at(t2 + 1)


@pytest.mark.parametrize("structure", CRYSTALS)
def test_sites_in_sphere_agree_with_enumeration(structure: str):
    edge, radius = 5, 2.3
    count = sum(
        math.dist((i + x, j + y, k + z), (2.5, 2.5, 2.5)) < radius
        for i in range(edge)
        for j in range(edge)
        for k in range(edge)
        for x, y, z, _ in CRYSTALS[structure].basis
    )
    assert sites_in_sphere(structure, edge, radius) == count


def test_radius_through_sites_is_refused():
    with pytest.raises(ValueError, match="passes through sites"):
        sites_in_sphere("fcc", 6, 2.5)
