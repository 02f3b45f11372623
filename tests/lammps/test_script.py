"""Scripts are split as LAMMPS itself splits them, and found in completions."""

import hashlib

import pytest

from mdx.lammps.script import Script, extract_script, split_words


def commands(text: str) -> list[tuple[str, ...]]:
    return [(c.name, *c.arguments) for c in Script.parse(text).commands]


def test_comments_blank_lines_and_indentation_are_no_commands():
    assert commands("# a\n\n   units metal  # b\n\t\nrun 0") == [("units", "metal"), ("run", "0")]


def test_ampersand_continues_a_command():
    assert commands("fix 1 all &\n  nvt temp &\n 1 1 1\nrun 5\n") == [
        ("fix", "1", "all", "nvt", "temp", "1", "1", "1"),
        ("run", "5"),
    ]


def test_quotes_keep_words_together_and_hide_comment_signs():
    assert commands("print \"a # b\" file 'x y' # c\n") == [("print", "a # b", "file", "x y")]


def test_triple_quotes_span_lines_and_hold_quotes():
    text = 'print """say "hi"\nagain"""\nrun 1\n'
    assert commands(text) == [("print", 'say "hi"\nagain'), ("run", "1")]


def test_an_ampersand_at_the_very_end_ends_the_script():
    assert commands("run &") == [("run",)]


def test_commands_know_their_lines():
    script = Script.parse("# c\nfix 1 all &\n nve\n\nrun 5\n")
    assert [c.lines for c in script.commands] == [(1, 3), (4, 5)]


def test_words_know_their_places():
    text = "if \"1 > 0\" then 'run 1'"
    words = split_words(text)
    assert [text[w.start : w.end] for w in words] == ["if", '"1 > 0"', "then", "'run 1'"]
    assert [w.quoted for w in words] == [False, True, False, True]


def test_identity_is_the_texts_sha256():
    text = "units metal\n"
    assert Script.parse(text).sha256 == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("completion", "script"),
    [
        ("```lammps\nrun 0\n```", "run 0\n"),
        ("Here:\n```lammps\nunits metal\nrun 0\n\n```\nDone.", "units metal\nrun 0\n"),
        ("```\nrun 1\n```", "run 1\n"),
        ("```\nrun 1\n```\n```lammps\nrun 2\n```", "run 2\n"),
        ("```lammps\nrun 1\n```\n```lammps\nrun 2\n```", "run 1\n"),
        ("```LAMMPS\nrun 1\n```", "run 1\n"),
        ("```python\nprint(1)\n```", None),
        ("```lammps\nrun 0\n", None),
        ("```lammps\n\n```", None),
        ("run 0\n", None),
        ("", None),
    ],
)
def test_the_first_closed_lammps_block_is_the_script(completion: str, script: str | None):
    assert extract_script(completion) == script


def test_extraction_inverts_fencing():
    text = "units metal\nlattice fcc 3.6 # a\nrun 0\n"
    assert extract_script(f"```lammps\n{text}```") == text
