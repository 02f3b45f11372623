"""`mdx-data potentials`: which potential files of the installed LAMMPS serve which elements.

mdx-data potentials --element Cu --style eam/alloy
mdx-data potentials --json > potentials.json
"""

import json
from collections.abc import Sequence
from dataclasses import asdict

import click

from mdx.lammps.potentials import PotentialFile, read_installed

_CITATION_WIDTH = 60


@click.command(name="potentials")
@click.option("--element", "elements", multiple=True, help="Symbol; may be given several times.")
@click.option("--style", help="Pair style, such as eam/alloy.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def potentials_command(elements: tuple[str, ...], style: str | None, as_json: bool) -> None:
    """List potential files of the installed LAMMPS: style, elements, units, date, citation."""
    found = [
        potential
        for _, potential in sorted(read_installed().items())
        if potential.style
        and set(elements) <= set(potential.elements)
        and style in (None, potential.style)
    ]
    if as_json:
        click.echo(json.dumps([asdict(potential) for potential in found], indent=2))
    elif found:
        _echo(found)
    else:
        wanted = " and ".join([*elements, *([f"pair style {style}"] if style else [])])
        click.echo(f"no potential file of the installed LAMMPS serves {wanted}")


def _echo(found: Sequence[PotentialFile]) -> None:
    rows = [("file", "style", "elements", "units", "date", "citation")]
    rows += [
        (p.name, p.style, " ".join(p.elements), p.units, p.date, p.citation[:_CITATION_WIDTH])
        for p in found
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        click.echo("  ".join([*cells, row[5]]).rstrip())
