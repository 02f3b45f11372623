"""What a family is about is judged: its reference without the essential command does not pass."""

from collections.abc import Callable

import pytest

from mdx.lammps.run import RunRequest
from mdx.rewards import passed
from mdx.tasks.generate import draw_examples
from rollout_farm.client import Farm

Change = Callable[[str], str]


def without(start: str) -> Change:
    return lambda script: "".join(
        line for line in script.splitlines(keepends=True) if not line.startswith(start)
    )


def swapped(old: str, new: str) -> Change:
    return lambda script: script.replace(old, new)


CHANGES: dict[str, Change] = {
    "berendsen": without("fix 2"),
    "csvr": without("fix 2"),
    "nph": swapped("nph iso 0 0 0.5", "nve"),
    "restart": lambda s: s.replace("write_restart", "write_data").replace(
        "read_restart", "read_data"
    ),
    "shear": without("fix 2"),
    "viscosity_mp": without("fix 2"),
    "viscosity_sllod": swapped("nvt/sllod", "nvt"),
    "conductivity_mp": without("fix 2"),
    "conductivity_gk": without("fix 2"),
    "conductivity_ehex": lambda s: without("fix 3")(without("fix 2")(s)),
    "evaporation": without("fix 2"),
    "gcmc": without("fix 2"),
    "deposition": without("fix 2"),
    "indentation": without("fix 2"),
    "granular": without("fix 2"),
    "dpd": lambda s: swapped("pair_style dpd", "pair_style soft 1 #")(s).replace(
        "pair_coeff 1 1", "pair_coeff 1 1 10 #"
    ),
    "torsion": without("fix 2"),
    "water": without("fix 1"),
    "polymer": swapped("lj/cut 1.12246", "zero 1.12246 nocoeff #"),
    "oxide": swapped("charge 2", "charge 1"),
    "stacking_fault": without("minimize"),
    "grain_boundary": without("minimize"),
    "alloy": without("set "),
    "core_shell": without("set "),
    "multilayer": without("set "),
    "elastic": without("change_box"),
    "elastic_shear": without("change_box all xy"),
    "minimizer": without("minimize"),
    "interstitial": without("create_atoms 1 single"),
    "other_phase": swapped("lattice bcc", "lattice fcc"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_reference_without_its_essential_command_does_not_pass(farm: Farm, name: str):
    [example] = draw_examples(split="train", num_scripts=1, seed=2, families=[name])
    script = CHANGES[name](example.script)
    if name == "other_phase" and script == example.script:
        script = example.script.replace("lattice fcc", "lattice bcc")
    assert script != example.script
    request = RunRequest(
        script=script, files=example.task.files, task=example.task, want_outputs=("*",)
    )
    reward = farm.run(request).reward
    assert reward is not None
    assert not passed(reward), reward


def test_frozen_film_is_flagged_though_its_lowest_layer_may_be_held(farm: Farm):
    [example] = draw_examples(split="train", num_scripts=1, seed=2, families=["impact"])
    frozen = example.script.replace("timestep", "fix 9 mobile setforce 0 0 0\ntimestep", 1)
    held = example.script.replace("timestep", "fix 9 fixed setforce 0 0 0\ntimestep", 1)
    rewards = [
        farm.run(RunRequest(script=script, task=example.task)).reward for script in (frozen, held)
    ]
    assert "frozen" in rewards[0].flags
    assert rewards[1].total >= 0.95


def test_printed_restart_file_is_a_forgery(farm: Farm):
    [example] = draw_examples(split="train", num_scripts=1, seed=2, families=["restart"])
    file = next(check.file for check in example.task.checks if check.file)
    script = without("write_restart")(example.script).replace("clear\n", "")
    script = without("read_restart")(script)
    script += f'print "LammpS RestartT" file {file}\n'
    request = RunRequest(script=script, task=example.task, want_outputs=("*",))
    assert "forged_output" in farm.run(request).reward.flags
