"""Errors and thermo tables of logs, from text that LAMMPS wrote."""

from mdx.lammps.log import clean_error, find_error, parse_thermo

UNKNOWN = "ERROR: Unknown command: foo bar (src/src/input.cpp:408)\nLast input line: foo bar\n"
NO_BOX = (
    "ERROR: Run command before simulation box is defined\n"
    "For more information see https://docs.lammps.org/err0033 (src/src/run.cpp:42)\n"
    "Last input line: run 10 \n                 ^^^\n"
)
TABLE = """\
   Step          Temp          TotEng
         0   300           -10.5
        50   nan           -10.25
Loop time of 0.1 on 1 procs for 50 steps with 4 atoms
"""


def test_error_is_cleaned_and_its_command_named():
    assert find_error(UNKNOWN) == ("ERROR: Unknown command: foo bar", "foo bar")
    assert find_error(NO_BOX) == ("ERROR: Run command before simulation box is defined", "run 10")


def test_error_of_one_process_has_no_command():
    message = "ERROR on proc 0: Substitution for illegal variable n\n (src/src/input.cpp:665)"
    assert find_error(message) == ("ERROR on proc 0: Substitution for illegal variable n", None)


def test_only_lines_that_begin_with_error_are_errors():
    assert find_error("print ERROR: no\n internal ERROR of MPI\n") is None
    assert clean_error("no error here") == "no error here"


def test_last_error_counts():
    assert find_error(UNKNOWN + NO_BOX)[1] == "run 10"


def test_thermo_tables_are_read_also_when_cut_off():
    first, second = parse_thermo("units metal\n" + TABLE + TABLE.split("Loop")[0] + UNKNOWN)
    assert first.columns == ("Step", "Temp", "TotEng")
    assert first.rows == ((0.0, 300.0, -10.5), (50.0, None, -10.25))
    assert second == first


def test_warnings_inside_a_table_do_not_end_it():
    [table] = parse_thermo(TABLE.replace("        50", "WARNING: mind (src/x.cpp:1)\n        50"))
    assert len(table.rows) == 2


def test_a_header_without_rows_is_no_table():
    assert parse_thermo("   Step          Temp\nERROR: x\n") == ()


def test_only_a_line_that_begins_with_step_and_names_columns_is_a_header():
    rows = "".join(TABLE.splitlines(keepends=True)[1:3])
    for line in ("print Step Temp TotEng", "StepTemp Temp TotEng", "Step 1 2", "Step Temp 3rd"):
        assert parse_thermo(f"{line}\n{rows}") == (), line
    for line in ("print Step Temp", "Step 1"):
        assert len(parse_thermo(f"{line}\nStep Temp TotEng\n{rows}")) == 1, line
