"""The final state, and the energy that the requested potential gives to it in a clean room."""

import pytest

from mdx.lammps.probes import instrument
from mdx.tasks.task import Potential

CU = Potential(style="eam/alloy", coeffs=("* * Cu_mishin1.eam.alloy Cu",))
CRYSTAL = """\
units metal
lattice fcc 3.615
region box block 0 3 0 3 0 3
create_box 1 box
create_atoms 1 box
pair_style eam/alloy
pair_coeff * * Cu_mishin1.eam.alloy Cu
"""
WARM = f"{CRYSTAL}velocity all create 600 1\nfix 1 all nve\n"


def energies(outcome) -> tuple[float, float]:
    """Return the script's last energy and the clean room's, per atom."""
    own = outcome.runs[-1].series["potential_energy"][-1]
    return own / outcome.final.num_atoms, (
        outcome.final.requested_potential_energy / outcome.final.num_atoms
    )


def test_the_right_potential_gives_the_scripts_own_energy(run_script):
    outcome = run_script(instrument(f"{WARM}run 50\n"), CU)
    own, requested = energies(outcome)
    assert own == pytest.approx(requested, abs=1e-9)
    assert outcome.final.step == 50
    assert outcome.final.num_atoms == 108
    assert outcome.final.units == "metal"
    assert outcome.final.pair_style == "eam/alloy"
    assert outcome.final.fixes == ("1",)
    assert outcome.final.masses == (63.55,)
    assert outcome.final.type_counts == (108,)
    assert outcome.final.box_lengths == pytest.approx((10.845,) * 3)
    assert outcome.final.max_force > 0.1
    assert outcome.final.num_forceless == 0
    assert outcome.final.finite


def test_another_elements_potential_is_far_off(run_script):
    nickel = WARM.replace("eam/alloy", "eam").replace("Cu_mishin1.eam.alloy Cu", "Ni_u3.eam")
    own, requested = energies(run_script(instrument(f"{nickel}run 50\n"), CU))
    assert abs(own - requested) > 0.5


def test_excluded_neighbours_do_not_reach_the_clean_room(run_script):
    text = f"{WARM}neigh_modify exclude type 1 1\nrun 5\n"
    own, requested = energies(run_script(instrument(text), CU))
    assert abs(own) < 1.0  # the embedding energy of a lone atom at most
    assert requested < -3.0


@pytest.mark.parametrize(
    "change",
    [
        "change_box all triclinic\nchange_box all xy final 1.5 yz final -0.7 remap units box",
        "change_box all boundary p p f",
        "change_box all boundary s s s",
    ],
)
def test_tilted_and_open_boxes_are_rebuilt(run_script, change):
    outcome = run_script(instrument(f"{WARM}{change}\nrun 20\n"), CU)
    assert outcome.error is None
    own, requested = energies(outcome)
    assert own == pytest.approx(requested, abs=1e-9)


def test_leftovers_of_the_script_do_no_harm(run_script):
    text = (
        f"{WARM}compute msd all msd\ncompute r all reduce max x\nvariable v equal c_r*2\n"
        "fix 3 all ave/time 5 1 5 c_msd[4] file t.dat\ndump 1 all custom 10 d.dat id x\n"
        "thermo_style custom step c_msd[4] v_v\nfix 4 all langevin 300 300 0.1 1\nrun 20\n"
    )
    outcome = run_script(instrument(text), CU)
    assert outcome.error is None
    own, requested = energies(outcome)
    assert own == pytest.approx(requested, abs=1e-9)


def test_a_perfect_relaxed_crystal_keeps_its_energy(run_script):
    # LAMMPS's binned lists miss pairs of this very box; the clean room must not
    text = (
        "units metal\nlattice fcc 3.92\nregion box block 0 3 0 4 0 3\ncreate_box 1 box\n"
        "create_atoms 1 box\npair_style eam/fs\npair_coeff * * Al_mm.eam.fs Al\n"
        "fix 1 all box/relax iso 0 vmax 0.01\nminimize 0 1e-6 200 2000\n"
    )
    potential = Potential(style="eam/fs", coeffs=("* * Al_mm.eam.fs Al",))
    own, requested = energies(run_script(instrument(text), potential))
    assert own == pytest.approx(requested, abs=1e-6)


def test_a_potential_for_other_types_is_not_applied(run_script):
    two = Potential(style="eam/alloy", coeffs=("* * NiAlH_jea.eam.alloy Ni Al",))
    final = run_script(instrument(f"{WARM}run 5\n"), two).final
    assert final.requested_potential_energy is None
    assert final.num_atoms == 108


def test_groups_are_counted(run_script):
    text = f"{CRYSTAL}region low block 0 3 0 3 0 0.9\ngroup low region low\nrun 0\n"
    final = run_script(instrument(text), None).final
    assert final.group_counts == {"all": 108, "low": 36}
    assert final.requested_potential_energy is None


def test_without_a_box_there_is_no_final_state(run_script):
    assert run_script("units metal\n", CU).final is None
