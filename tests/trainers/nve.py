"""A Lennard-Jones crystal in NVE, as a script and as the task that it solves."""

from mdx.tasks.task import Check, CheckKind, Potential, Task

_SCRIPT = """\
units lj
lattice fcc 0.8442
region box block 0 {} 0 {} 0 {}
create_box 1 box
create_atoms 1 box
mass 1 1.0
velocity all create 1.0 87287
pair_style lj/cut 2.5
pair_coeff 1 1 1.0 1.0 2.5
fix 1 all nve
run {}
"""


def nve_script(cells, num_steps):
    """Return the script for a crystal of so many cells in x, y and z."""
    return _SCRIPT.format(*cells, num_steps)


def nve_task(number, prompt, *, num_atoms, num_steps):
    return Task(
        id=f"nve-{number}",
        family="nve",
        prompt=prompt,
        checks=(
            Check(kind=CheckKind.UNITS, text="lj"),
            Check(kind=CheckKind.NUM_ATOMS, target=num_atoms, tolerance=0.0),
            Check(kind=CheckKind.ENSEMBLE, text="nve"),
            Check(kind=CheckKind.NUM_STEPS, target=num_steps),
            Check(kind=CheckKind.FINITE),
        ),
        potential=Potential(style="lj/cut 2.5", coeffs=("1 1 1.0 1.0 2.5",)),
        num_steps=num_steps,
    )
