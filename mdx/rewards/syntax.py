"""Component S: the share of a script's commands that are valid, judged without running it.

A command is worth 1 if its name is known to this LAMMPS and no rule is broken, 1/2 if the name is
known but its style, number of arguments, place or references are wrong, 0 otherwise. Scripts
shorter than six commands are counted as six, so that one right line is no right script.

Rules are those whose breach LAMMPS always refuses. Words with a `$` are unknown here and pass;
so does the order of commands after a `jump` or `include`, which only a run can tell.
"""

import re
from dataclasses import dataclass, field

from mdx.lammps.commands import known_styles
from mdx.lammps.script import Command, Script

MIN_COMMANDS = 6

# Where a command names a style: category and the position of the style among the arguments.
_STYLE_OF = {
    "atom_style": ("atom", 0),
    "pair_style": ("pair", 0),
    "bond_style": ("bond", 0),
    "angle_style": ("angle", 0),
    "dihedral_style": ("dihedral", 0),
    "improper_style": ("improper", 0),
    "kspace_style": ("kspace", 0),
    "min_style": ("minimize", 0),
    "run_style": ("integrate", 0),
    "region": ("region", 1),
    "compute": ("compute", 2),
    "fix": ("fix", 2),
    "dump": ("dump", 2),
}
_KEYWORDS = {
    "units": ("lj", "real", "metal", "si", "cgs", "electron", "micro", "nano"),
    "create_atoms.1": ("box", "region", "single", "mesh", "random"),
    "velocity.1": ("create", "set", "scale", "ramp", "zero"),
}
_EXTRA_STYLES = {"pair": {"none"}, "region": {"delete"}, "kspace": {"none"}, "bond": {"none"}}
_MIN_ARGUMENTS = {
    "units": 1,
    "atom_style": 1,
    "boundary": 3,
    "dimension": 1,
    "lattice": 2,
    "region": 2,
    "create_box": 2,
    "create_atoms": 2,
    "mass": 2,
    "pair_style": 1,
    "pair_coeff": 2,
    "velocity": 3,
    "fix": 3,
    "compute": 3,
    "dump": 5,
    "dump_modify": 2,
    "thermo": 1,
    "thermo_style": 1,
    "timestep": 1,
    "run": 1,
    "minimize": 4,
    "group": 2,
    "set": 3,
    "delete_atoms": 1,
    "displace_atoms": 2,
    "change_box": 2,
    "replicate": 3,
    "variable": 2,
    "unfix": 1,
    "uncompute": 1,
    "undump": 1,
    "read_data": 1,
    "write_data": 1,
    "neighbor": 2,
    "neigh_modify": 1,
    "reset_timestep": 1,
    "label": 1,
    "jump": 1,
    "next": 1,
    "include": 1,
    "print": 1,
}
_FIX_ARGUMENTS = {"nvt": 7, "npt": 7, "nve": 3, "langevin": 7, "setforce": 6, "ave/time": 7}
_MAX_ARGUMENTS = {
    "run": 20,
    "minimize": 4,
    "timestep": 1,
    "units": 1,
    "thermo": 1,
    "dimension": 1,
    "boundary": 3,
    "create_box": 40,
    "unfix": 1,
    "uncompute": 1,
    "mass": 2,
}
_MAKES_BOX = ("create_box", "read_data", "read_restart")
_NEEDS_BOX = """
create_atoms mass pair_coeff velocity fix compute dump run minimize group set delete_atoms
displace_atoms change_box replicate write_data write_dump write_restart reset_timestep
"""
_BEFORE_BOX = frozenset(("units", "atom_style", "boundary", "dimension", "processors"))
_DEFINES = {"fix": "fix", "compute": "compute", "dump": "dump", "variable": "variable"}
_USES_ID = {
    "unfix": "fix",
    "fix_modify": "fix",
    "uncompute": "compute",
    "compute_modify": "compute",
    "undump": "dump",
    "dump_modify": "dump",
    "next": "variable",
}
_GROUP_POSITION = {"fix": 1, "compute": 1, "dump": 1, "velocity": 0, "displace_atoms": 0}
_REFERENCE = re.compile(r"(?<![\w$])([cfv])_(\w+)")
_BUILT_IN_COMPUTES = ("thermo_temp", "thermo_press", "thermo_pe")


@dataclass
class _State:
    """What the commands so far have set up."""

    has_box: bool = False
    has_lattice: bool = False
    has_pair: bool = False
    jumped: bool = False  # control flow from here on is unknown
    ids: dict[str, set[str]] = field(
        default_factory=lambda: {
            "fix": set(),
            "compute": set(_BUILT_IN_COMPUTES),
            "dump": set(),
            "variable": set(),
            "group": {"all"},
            "region": set(),
        }
    )


def syntax_score(script: Script) -> float:
    """Return S in [0, 1]."""
    state = _State()
    marks = []
    for command in script.commands:
        marks.append(_mark(command, state))
        _advance(command, state)
    return sum(marks) / max(len(marks), MIN_COMMANDS)


def _mark(command: Command, state: _State) -> float:
    if "$" in command.name:
        return 1.0
    if command.name not in known_styles()["command"]:
        return 0.0
    rules = (_style_is_known, _arity_is_right, _order_is_right, _references_exist)
    return 1.0 if all(rule(command, state) for rule in rules) else 0.5


def _style_is_known(command: Command, state: _State) -> bool:
    place = _STYLE_OF.get(command.name)
    arguments = command.arguments
    for key, words in _KEYWORDS.items():
        name, _, position = key.partition(".")
        index = int(position or 0)
        if command.name == name and len(arguments) > index:
            return arguments[index] in words or "$" in arguments[index]
    if place is None or len(arguments) <= place[1]:
        return True  # a missing style is the arity's matter
    category, style = place[0], arguments[place[1]]
    if command.name == "region" and style == "delete":
        return True
    extra = _EXTRA_STYLES.get(category, set())
    return "$" in style or style in known_styles()[category] or style in extra


def _arity_is_right(command: Command, state: _State) -> bool:
    count = len(command.arguments)
    least = _MIN_ARGUMENTS.get(command.name, 0)
    if command.name == "fix" and count > 2:
        least = _FIX_ARGUMENTS.get(command.arguments[2], least)
    if "$" in command.text:
        return count >= min(least, 1)
    return least <= count <= _MAX_ARGUMENTS.get(command.name, count)


def _order_is_right(command: Command, state: _State) -> bool:
    if state.jumped:
        return True
    name, arguments = command.name, command.arguments
    if name in _NEEDS_BOX.split() and not state.has_box:
        return False
    if name in _BEFORE_BOX and state.has_box:
        return False
    if name == "pair_coeff" and not state.has_pair:
        return False
    needs_lattice = name == "create_atoms" and arguments[1:2] in (("box",), ("region",))
    return state.has_lattice or not needs_lattice


def _references_exist(command: Command, state: _State) -> bool:
    if state.jumped or "$" in command.text:
        return True
    name, arguments, ids = command.name, command.arguments, state.ids
    if name in _USES_ID and arguments and arguments[0] not in ids[_USES_ID[name]]:
        return False
    place = _GROUP_POSITION.get(name)
    if place is not None and len(arguments) > place and arguments[place] not in ids["group"]:
        return False
    if name == "create_box" and len(arguments) > 1 and arguments[1] not in ids["region"]:
        return False
    if "region" in arguments and name in ("create_atoms", "group", "delete_atoms"):
        following = arguments[arguments.index("region") + 1 :]
        if following and following[0] not in ids["region"]:
            return False
    return name == "variable" or _formula_references_exist(command, ids)


def _formula_references_exist(command: Command, ids: dict[str, set[str]]) -> bool:
    for kind, name in _REFERENCE.findall(" ".join(command.arguments)):
        known = ids[{"c": "compute", "f": "fix", "v": "variable"}[kind]]
        if name not in known and not name.endswith(("_temp", "_press")):
            return False  # fix nvt and npt make computes called ID_temp and ID_press
    return True


def _advance(command: Command, state: _State) -> None:
    name, arguments = command.name, command.arguments
    state.has_box |= name in _MAKES_BOX
    state.has_lattice |= name == "lattice"
    state.has_pair |= name in ("pair_style", "read_restart")
    state.jumped |= name in ("jump", "include")
    if not arguments:
        return
    if name in _DEFINES:
        state.ids[_DEFINES[name]].add(arguments[0])
    elif name in ("group", "region"):
        state.ids[name].add(arguments[0])
    elif name in ("unfix", "uncompute", "undump"):
        state.ids[_USES_ID[name]].discard(arguments[0])
    elif name == "clear":
        state.has_box = state.has_lattice = state.has_pair = False
