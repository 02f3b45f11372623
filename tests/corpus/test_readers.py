"""Readers: the text is there, the furniture is not, nothing is executed or included."""

from pathlib import Path

import pytest

from mdx.corpus.collect import File, kind_of
from mdx.corpus.config import Kind, ReadLimits
from mdx.corpus.decode import UnreadableError
from mdx.corpus.lammps_files import read_input, read_log
from mdx.corpus.readers import read
from mdx.corpus.rst import read_rst
from tests.corpus.conftest import PAGE, PDF_LINES, SCRIPT


def page(folder, name):
    path = str(folder / name)
    return read(File(source="s", name=name, path=path, kind=kind_of(name)), ReadLimits())


def test_rst_keeps_what_is_said_and_resolves_roles():
    title, text = read_rst(PAGE)
    assert title == "fix soften command"
    assert "ID, group-ID are documented in fix command" in text
    assert "taken away$\\alpha$ (energy units)" in text
    assert "See the other way for what happens" in text
    assert "```lammps\nfix ID group-ID soften strength keyword value\n```" in text
    assert "Note: The thermostat of the production run" in text
    assert "## Restrictions" in text


def test_rst_reads_no_other_file_and_drops_indexes():
    _, text = read_rst(PAGE)
    assert "secret_page" not in text
    assert "index::" not in text
    assert Path("/etc/hostname").read_text(encoding="utf-8").strip() not in text


def test_tabs_tables_and_unknown_markup_keep_their_content():
    _, text = read_rst(
        "Title\n=====\n\n.. tabs::\n\n   .. tab:: CMake\n\n      Say cmake first.\n\n"
        ".. list-table::\n\n   * - one\n     - two\n\n.. peculiar::\n\n   Still told.\n\n"
        ":strange:`a word <target>` ends, and *yes*\\ .\n"
    )
    for part in ("CMake", "Say cmake first.", "| one | two |", "Still told.", "a word ends"):
        assert part in text
    assert "yes." in text


def test_html_is_the_article_alone(folder):
    read_page = page(folder, "water.html")
    assert read_page.title == "Water models"
    assert "```lammps\nfix 1 all shake 0.0001 20 0 b 1 a 1\nrun 100\n```" in read_page.text
    assert "* three sites\n* four sites" in read_page.text
    for furniture in ("Home of everything", "Table of contents", "hidden", "Copyright"):
        assert furniture not in read_page.text


def test_pdf_gives_its_lines(folder):
    text = page(folder, "verlet.pdf").text
    assert all(line in text for line in PDF_LINES)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("broken.txt", "binary file"),
        ("endless.txt", "endless line"),
        ("latin.txt", "wrong encoding"),
        ("scan.pdf", "PDF without text"),
        ("half.pdf", "broken PDF"),
        ("torn.txt.gz", "broken gzip"),
        ("empty.md", "empty file"),
        ("pipe.txt", "not a regular file"),
        ("circle.rst", "cannot be opened"),
        ("gone.rst", "cannot be opened"),
    ],
)
def test_damage_is_named(folder, name, reason):
    with pytest.raises(UnreadableError) as error:
        page(folder, name)
    assert error.value.reason == reason


def test_inputs_are_fenced_and_others_refused():
    assert read_input(SCRIPT).startswith("```lammps\n# Copyright")
    with pytest.raises(UnreadableError, match="no LAMMPS input"):
        read_input("cmake_minimum_required(VERSION 3)\nproject(x)\nset(a b)\n")


def test_logs_are_thinned_in_the_middle():
    rows = "".join(f"  {i}  {300 + i}.5  -3.2e+01\n" for i in range(1000))
    log = read_log(f"LAMMPS (1 Jan 2030)\nStep Temp PotEng\n{rows}Loop time of 3 s\n", 50_000)
    assert "  11  311.5" in log
    assert "  999  1299.5" in log
    assert "  500  800.5" not in log
    assert "Loop time of 3 s" in log
    with pytest.raises(UnreadableError, match="no LAMMPS log"):
        read_log("something else\n", 1000)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("doc/fix_nvt.rst", Kind.RST),
        ("src/log.cpp", None),
        ("log.rst", Kind.RST),
        ("in.melt.gz", Kind.LAMMPS_INPUT),
        ("log.27Nov18.melt.g++.1", Kind.LAMMPS_LOG),
        ("README", Kind.TEXT),
        ("Cu_u3.eam", None),
    ],
)
def test_kinds_come_from_names(name, kind):
    assert kind_of(name) is kind
