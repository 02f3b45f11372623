"""Which broken scripts a record cannot hold: how they end is up to the machine that runs them.

A record of a repair names how its broken script ended. Most end in the same way everywhere, with an
error of LAMMPS's or with numbers that are wrong. Some do not: what reads beyond an array dies of
one signal or another, by what lies there, and what grows slower and slower ends at the limit on one
machine and in time on the next. Two builds of 50,000 runs differed in just these.

Both are left out. Crashes and exceeded limits are seen when they happen, but a run that ends *close
to* a limit is not, so those that could are told by their text. Measured over 3,200 broken scripts:
those that LAMMPS refuses took at most 0.3 s of CPU. Of those that run but are wrong 56 took more
than 0.8 s, up to more than 40 s, and all but one of these (1.2 s) had either

* a potential without a repulsive core (`sw`, `meam`, `gw`): atoms that overlap, or that were thrown
  at each other, stay together, every atom has hundreds of neighbours, and each pair's forces sum
  over all of them; or
* the ensemble `nph`, in which a box that was heated up by a wrong time step expands or collapses
  without end.
"""

from mdx.lammps.run import RunStatus
from mdx.lammps.script import Script
from mdx.tasks.generate import Example

_THAT_RUN = {"repair_overlap", "repair_timestep", "repair_units"}
_COLLAPSING_STYLES = {"sw", "meam", "gw"}
_UP_TO_THE_MACHINE = {RunStatus.CRASHED, RunStatus.TIMEOUT, RunStatus.OUT_OF_MEMORY}


def depends_on_machine(status: RunStatus) -> bool:
    """Tell whether another machine, or the same one on another day, may end the run otherwise."""
    return status in _UP_TO_THE_MACHINE


def may_take_long(example: Example) -> bool:
    """Tell whether the broken script of a repair may become so slow that it ends near a limit."""
    if example.failed_script is None or example.task.family not in _THAT_RUN:
        return False
    return any(
        (command.name == "pair_style" and not _COLLAPSING_STYLES.isdisjoint(command.arguments))
        or (command.name == "fix" and "nph" in command.arguments)
        for command in Script.parse(example.failed_script).commands
    )
