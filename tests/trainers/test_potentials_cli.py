"""`mdx-data potentials`: a table, JSON, and one line where nothing fits."""

import json

from click.testing import CliRunner

from trainers.potentials_cli import potentials_command


def test_files_are_listed_with_style_elements_units_date_and_citation():
    result = CliRunner().invoke(potentials_command, ["--element", "Cu", "--style", "eam/alloy"])
    header, *rows = result.output.splitlines()
    assert header.split() == ["file", "style", "elements", "units", "date", "citation"]
    [row] = [r for r in rows if r.startswith("Cu_mishin1")]
    assert row.split()[:5] == ["Cu_mishin1.eam.alloy", "eam/alloy", "Cu", "metal", "2007-10-12"]
    assert "Mishin, Phys Rev B, 63, 224106 (2001)" in row
    assert all(r.split()[1] == "eam/alloy" for r in rows)


def test_json_holds_files_that_serve_all_elements():
    result = CliRunner().invoke(potentials_command, ["--element", "Si", "--element", "C", "--json"])
    found = json.loads(result.output)
    assert {"SiC.tersoff", "SiC.vashishta"} <= {p["name"] for p in found}
    assert all({"Si", "C"} <= set(p["elements"]) for p in found)


def test_nothing_that_fits_is_said_in_one_line():
    result = CliRunner().invoke(potentials_command, ["--element", "Xx"])
    assert result.exit_code == 0
    assert result.output == "no potential file of the installed LAMMPS serves Xx\n"
