"""Facts about LAMMPS that questions and documents are made from: units, commands, errors.

They are MDX's own words, in `facts.json`. Tests check them against LAMMPS itself: default time
steps, that each example of a command runs, and that each error is what LAMMPS says.
"""

import functools
import importlib.resources
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

SOURCE = "MDX task families"
LICENCE = "Apache-2.0"


@dataclass(frozen=True, kw_only=True)
class CommandFact:
    """What one command or style is for, its arguments in order, and an example."""

    name: str
    purpose: str
    syntax: str
    example: str


@dataclass(frozen=True, kw_only=True)
class ErrorFact:
    """What LAMMPS says, why, and what to do."""

    error: str
    cause: str
    fix: str


@dataclass(frozen=True, kw_only=True)
class Facts:
    """All facts; `units` maps a unit style to what each quantity is measured in."""

    units: Mapping[str, Mapping[str, str]]
    commands: tuple[CommandFact, ...]
    errors: tuple[ErrorFact, ...]


@functools.cache
def facts() -> Facts:
    """Return the facts of the package's facts.json."""
    text = importlib.resources.files("mdx.tasks").joinpath("facts.json").read_text("utf-8")
    return msgspec.json.decode(text, type=Facts)
