"""The package data is what the installed LAMMPS says of itself."""

import pytest

from mdx.lammps import commands, potentials
from mdx.lammps.library import Lammps, LammpsError, mpi_library_path, package_dir


def test_commands_json_is_of_the_installed_lammps():
    known = {name: sorted(styles) for name, styles in commands.known_styles().items()}
    assert known == commands.read_installed()


def test_potentials_json_is_of_the_installed_lammps():
    assert dict(potentials.known_potentials()) == potentials.read_installed()


def test_potentials_are_found_by_element_and_style():
    names = [p.name for p in potentials.find_potentials("Cu", "eam/alloy")]
    assert "Cu_mishin1.eam.alloy" in names
    assert "Ni_u3.eam" not in names
    assert all(p.style == "eam/alloy" for p in potentials.find_potentials("Cu", "eam/alloy"))
    assert {p.name for p in potentials.find_potentials("Si")} >= {"Si.sw", "Si.tersoff"}
    assert potentials.find_potentials("Xx") == ()


def test_library_reports_lammps_own_error_and_goes_on():
    assert (package_dir() / "liblammps.so").exists()
    assert mpi_library_path().exists()
    lammps = Lammps()
    try:
        with pytest.raises(LammpsError, match="ERROR: Unknown command: foo bar"):
            lammps.command("foo bar")
        lammps.command("units metal")
        assert lammps.global_string("units") == "metal"
        assert lammps.extract_setting("box_exist") == 0
    finally:
        lammps.close()
