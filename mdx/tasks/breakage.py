"""Break a working script so that LAMMPS stops with an error, as people and models do.

`break_script` draws a kind that applies to the script and makes one mistake of that kind. Each
kind is a function from (commands, rng) to the broken commands, or None where it does not apply.
A test runs every kind in LAMMPS: the mistake must be an error, never just a worse result.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

Commands = list[str]
Breaker = Callable[[Commands, Random], Commands | None]


@dataclass(frozen=True, kw_only=True)
class Broken:
    """A script that fails, and the kind of its mistake."""

    script: str
    kind: str


def break_script(script: str, rng: Random, kind: str | None = None) -> Broken:
    """Return `script` with one mistake.

    Args:
        script: a working script, one command a line.
        rng: decides the kind and the place.
        kind: a key of `BREAKERS`; drawn among those that apply if None.

    Raises:
        ValueError: no kind, or not this one, applies to the script.
    """
    kinds = list(BREAKERS) if kind is None else [kind]
    rng.shuffle(kinds)
    for name in kinds:
        commands = BREAKERS[name](script.splitlines(), rng)
        if commands is not None:
            return Broken(script="\n".join(commands) + "\n", kind=name)
    raise ValueError(f"no mistake of kind {kind or 'any'} can be made in this script:\n{script}")


def _misspell(word: str, rng: Random) -> str:
    """Swap two letters that differ, drop a letter or double one."""
    places = [i for i in range(len(word) - 1) if word[i] != word[i + 1]]
    way = rng.randrange(3)
    if way == 0 and places:
        i = rng.choice(places)
        return word[:i] + word[i + 1] + word[i] + word[i + 2 :]
    i = rng.randrange(len(word))
    return word[:i] + word[i + 1 :] if way == 1 and len(word) > 3 else word[: i + 1] + word[i:]


def _find(commands: Commands, *starts: str) -> list[int]:
    """Return the places of the commands that begin with one of these words."""
    return [i for i, c in enumerate(commands) if c.startswith(tuple(s + " " for s in starts))]


def _replace(commands: Commands, place: int, command: str) -> Commands:
    return [*commands[:place], command, *commands[place + 1 :]]


def _command_typo(commands: Commands, rng: Random) -> Commands | None:
    """Misspell a command: pair_styel."""
    place = rng.randrange(len(commands))
    name, _, rest = commands[place].partition(" ")
    return _replace(commands, place, f"{_misspell(name, rng)} {rest}")


def _style_typo(commands: Commands, rng: Random) -> Commands | None:
    """Misspell the style of a fix, compute, pair, lattice, dump or unit system."""
    at = {"fix": 3, "compute": 3, "dump": 3, "pair_style": 1, "lattice": 1, "units": 1}
    place = rng.choice(_find(commands, *at))
    words = commands[place].split()
    index = at[words[0]]
    words[index] = _misspell(words[index], rng)
    return _replace(commands, place, " ".join(words))


def _missing_mass(commands: Commands, rng: Random) -> Commands | None:
    """Forget the masses where no file sets them."""
    places = _find(commands, "mass")
    return [c for i, c in enumerate(commands) if i not in places] if places else None


def _wrong_arity(commands: Commands, rng: Random) -> Commands | None:
    """Drop the last argument of a command that needs it."""
    needed = ("lattice", "velocity", "timestep", "run", "mass", "minimize", "pair_coeff", "fix")
    places = [
        i
        for i in _find(commands, *needed)
        if not commands[i].endswith((" nve", "vector")) and "origin" not in commands[i]
    ]
    if not places:
        return None
    place = rng.choice(places)
    return _replace(commands, place, commands[place].rpartition(" ")[0])


def _pair_order(commands: Commands, rng: Random) -> Commands | None:
    """Give the coefficients before the pair style."""
    places = _find(commands, "pair_style", "pair_coeff")
    if len(places) != 2:
        return None
    style, coeff = places
    swapped = _replace(commands, style, commands[coeff])
    return _replace(swapped, coeff, commands[style])


def _box_order(commands: Commands, rng: Random) -> Commands | None:
    """Create atoms, or set a mass, before there is a box."""
    boxes = _find(commands, "create_box")
    if not boxes:
        return None
    box = boxes[0]
    early = rng.choice(_find(commands, "create_atoms", "mass", "pair_coeff", "velocity"))
    rest = [c for i, c in enumerate(commands) if i != early]
    return [*rest[:box], commands[early], *rest[box:]]


def _wrong_file(commands: Commands, rng: Random) -> Commands | None:
    """Name a potential file that does not exist."""
    for place in _find(commands, "pair_coeff"):
        words = commands[place].split()
        files = [i for i, w in enumerate(words) if "." in w and not w[0].isdigit()]
        if files:
            stem, _, ending = words[files[0]].partition(".")
            other = rng.choice(("pot", "txt", f"{ending}.old"))
            words[files[0]] = rng.choice((f"{_misspell(stem, rng)}.{ending}", f"{stem}.{other}"))
            return _replace(commands, place, " ".join(words))
    return None


def _undefined_id(commands: Commands, rng: Random) -> Commands | None:
    """Refer to a region, group or compute that nobody defined."""
    options = [(i, " all ", f" {g} ") for i in _find(commands, "fix") for g in ("mobile", "atoms")]
    options += [(i, " all ", " mobile ") for i in _find(commands, "velocity", "compute", "dump")]
    options += [(i, " box", " cell") for i in _find(commands, "create_box")]
    options += [(i, " c_1[", " c_2[") for i in _find(commands, "fix") if " c_1[" in commands[i]]
    options += [(i, " ball", " sphere1") for i in _find(commands, "create_atoms", "delete_atoms")]
    options = [o for o in options if o[1] in commands[o[0]]]
    if not options:
        return None
    place, old, new = rng.choice(options)
    return _replace(commands, place, commands[place].replace(old, new, 1))


def _missing_coefficients(commands: Commands, rng: Random) -> Commands | None:
    """Forget pair_coeff."""
    places = _find(commands, "pair_coeff")
    return [c for i, c in enumerate(commands) if i not in places] if places else None


def _missing_pair_style(commands: Commands, rng: Random) -> Commands | None:
    """Forget pair_style."""
    places = _find(commands, "pair_style")
    return [c for i, c in enumerate(commands) if i not in places] if places else None


def _units_mistake(commands: Commands, rng: Random) -> Commands | None:
    """Set the units when there is a box already."""
    boxes = _find(commands, "create_box", "read_data")
    if not boxes:
        return None
    place, box = _find(commands, "units")[0], boxes[0]
    rest = [c for i, c in enumerate(commands) if i != place]
    return [*rest[:box], commands[place], *rest[box:]]


def _wrong_element(commands: Commands, rng: Random) -> Commands | None:
    """Name an element that the potential's file does not hold."""
    for place in _find(commands, "pair_coeff"):
        words = commands[place].split()
        if not words[-1].isalpha():
            return None
        words[-1] = rng.choice(("Xe", "Kr", "U", "Pu"))
        return _replace(commands, place, " ".join(words))
    return None


def _too_many_types(commands: Commands, rng: Random) -> Commands | None:
    """Create atoms of a type that the box does not have."""
    places = _find(commands, "create_atoms")
    if not places:
        return None
    place = rng.choice(places)
    words = commands[place].split()
    words[1] = "3"
    return _replace(commands, place, " ".join(words))


BREAKERS: dict[str, Breaker] = {
    "command_typo": _command_typo,
    "style_typo": _style_typo,
    "missing_mass": _missing_mass,
    "wrong_arity": _wrong_arity,
    "pair_order": _pair_order,
    "box_order": _box_order,
    "wrong_file": _wrong_file,
    "undefined_id": _undefined_id,
    "missing_coefficients": _missing_coefficients,
    "missing_pair_style": _missing_pair_style,
    "units_mistake": _units_mistake,
    "wrong_element": _wrong_element,
    "too_many_types": _too_many_types,
}
