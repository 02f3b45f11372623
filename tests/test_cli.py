"""The one boundary at which failures become a line of text and an exit code."""

import errno

import click
import pytest

from mdx.cli import CommandGroup, exit_code_and_line
from mdx.errors import FarmError, UsageError


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (UsageError("give a file"), 2, "error: give a file"),
        (FarmError("no worker answers"), 1, "error: no worker answers"),
        (KeyboardInterrupt(), 130, "the same command goes on"),
        (
            OSError(errno.ENOSPC, "No space left on device", "x.json"),
            1,
            "the disk is full (x.json)",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "out"), 1, "out: Permission denied"),
        (ModuleNotFoundError("No module", name="jax.numpy"), 1, "pip install 'mdx-stack[train]'"),
    ],
)
def test_expected_failures_are_one_line_with_their_exit_code(error, code, words):
    found, line = exit_code_and_line(error)
    assert found == code
    assert words in line
    assert "\n" not in line


@pytest.mark.parametrize("defect", [OSError("no file"), ModuleNotFoundError("x", name="mdx.gone")])
def test_defects_keep_their_traceback(defect):
    with pytest.raises(type(defect)):
        exit_code_and_line(defect)


def test_a_command_exits_with_the_code_of_its_failure(capsys):
    @click.group(cls=CommandGroup)
    def group():
        pass

    @group.command()
    def fail():
        raise UsageError("required 3, came 4")

    with pytest.raises(SystemExit) as exit_info:
        group.main(["fail"])
    assert exit_info.value.code == 2
    assert capsys.readouterr().err == "error: required 3, came 4\n"
