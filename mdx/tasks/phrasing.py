"""How people ask: templates in five registers, and slots that state a value in several ways.

A `Phrasing` is a template with the names of slots in braces. A `Slot` holds the ways in which one
value is said, the usual way first: mostly that one is taken, so that texts stay regular, and a
minority are paraphrases (0.002 ps as 2 fs, 300 steps as 0.6 ps, Cu as copper).

Every template has the slot `{extras}`: the clauses that a text may have or not, about the potential
and the seed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from mdx.tasks.materials import Cells, Material

USUAL_SHARE = 0.75  # of values said in the usual way


class Register(StrEnum):
    """How a text speaks."""

    TERSE = "terse"
    TEXTBOOK = "textbook"
    GOAL = "goal"
    STEPS = "steps"
    CHINESE = "chinese"


@dataclass(frozen=True, kw_only=True)
class Slot:
    """The ways of saying one value, the usual one first, in English and in Chinese."""

    english: tuple[str, ...]
    chinese: tuple[str, ...]

    def render(self, rng: Random, chinese: bool) -> str:
        """Say the value: the usual way with probability `USUAL_SHARE`."""
        ways = self.chinese if chinese else self.english
        return ways[0] if len(ways) == 1 or rng.random() < USUAL_SHARE else rng.choice(ways[1:])


@dataclass(frozen=True, kw_only=True)
class Phrasing:
    """One template of one register."""

    register: Register
    template: str

    def render(self, rng: Random, slots: Mapping[str, Slot], extras: str) -> str:
        """Fill the template; `extras` are the rendered optional clauses."""
        chinese = self.register is Register.CHINESE
        # Slots are rendered in a fixed order and all of them, so a text depends on the seed alone.
        words = {name: slot.render(rng, chinese) for name, slot in slots.items()}
        text = self.template.format(extras=extras, **words)
        return text.replace("） ", "）") if chinese else text  # full-width signs bring their space


def phrasings(
    *,
    terse: tuple[str, ...],
    textbook: tuple[str, ...],
    goal: tuple[str, ...],
    steps: tuple[str, ...],
    chinese: tuple[str, ...],
) -> tuple[Phrasing, ...]:
    """Return the templates of all five registers as phrasings."""
    by_register = {
        Register.TERSE: terse,
        Register.TEXTBOOK: textbook,
        Register.GOAL: goal,
        Register.STEPS: steps,
        Register.CHINESE: chinese,
    }
    return tuple(
        Phrasing(register=register, template=template)
        for register, templates in by_register.items()
        for template in templates
    )


def number_slot(value: float) -> Slot:
    """0.05, without a unit."""
    return same(f"{value:g}")


def same(*ways: str) -> Slot:
    """Return a slot that is said alike in both languages."""
    return Slot(english=ways, chinese=ways)


def material_slot(material: Material) -> Slot:
    """Cu, copper, 铜."""
    return Slot(
        english=(material.name, material.english),
        chinese=(material.name, material.chinese),
    )


def cells_slot(cells: Cells) -> Slot:
    """3x3x4, 3 x 3 x 4."""
    words = [str(n) for n in cells]
    return same("x".join(words), " x ".join(words))


def crystal_slot(material: Material, cells: Cells) -> Slot:
    """4x4x4 cells of Cu, a 4x4x4 copper crystal, 4x4x4 晶胞的铜."""
    size = "x".join(map(str, cells))
    return Slot(
        english=(
            f"{size} cells of {material.name}",
            f"{size} cells of {material.english}",
            f"{size} {material.name} cells",
        ),
        chinese=(
            f"{size} 晶胞的 {material.name}",
            f"{size} 晶胞的{material.chinese}",
            f"{size} 个{material.chinese}晶胞",
        ),
    )


def run_slot(num_steps: int, timestep: float) -> Slot:
    """600 steps of 0.002 ps, 600 steps of 2 fs, 1.2 ps in steps of 2 fs."""
    in_ps, in_fs = f"{timestep:g} ps", f"{1000 * timestep:g} fs"
    duration = f"{num_steps * timestep:g} ps"
    return Slot(
        english=(
            f"{num_steps} steps of {in_ps}",
            f"{num_steps} steps of {in_fs}",
            f"{duration} in steps of {in_fs}",
        ),
        chinese=(
            f"步长 {in_ps} 运行 {num_steps} 步",
            f"步长 {in_fs} 运行 {num_steps} 步",
            f"以 {in_fs} 的步长运行 {duration}",
        ),
    )


def reduced_run_slot(num_steps: int, timestep: float) -> Slot:
    """600 steps of 0.005, in reduced units."""
    return Slot(
        english=(f"{num_steps} steps of {timestep:g}", f"{num_steps} steps, dt = {timestep:g}"),
        chinese=(f"步长 {timestep:g} 运行 {num_steps} 步", f"dt = {timestep:g}，{num_steps} 步"),
    )


def temperature_slot(kelvin: float) -> Slot:
    """300 K."""
    return Slot(
        english=(f"{kelvin:g} K", f"{kelvin:g} kelvin"), chinese=(f"{kelvin:g} K", f"{kelvin:g} 开")
    )


def timestep_slot(picoseconds: float) -> Slot:
    """0.002 ps, 2 fs."""
    in_ps, in_fs = f"{picoseconds:g}", f"{1000 * picoseconds:g}"
    return Slot(
        english=(f"{in_ps} ps", f"{in_fs} fs"),
        chinese=(f"{in_ps} ps", f"{in_fs} fs", f"{in_fs} 飞秒"),
    )


def length_slot(angstrom: float) -> Slot:
    """3.7 A."""
    return Slot(
        english=(f"{angstrom:g} A", f"{angstrom:g} angstrom"),
        chinese=(f"{angstrom:g} A", f"{angstrom:g} 埃"),
    )


def steps_slot(num_steps: int, timestep: float) -> Slot:
    """300 steps, 0.6 ps."""
    duration = f"{num_steps * timestep:g} ps"
    return Slot(
        english=(f"{num_steps} steps", f"{num_steps} time steps", duration),
        chinese=(f"{num_steps} 步", f"{num_steps} 个时间步", duration),
    )


def steps_count_slot(num_steps: int) -> Slot:
    """300 steps, without a duration (reduced units)."""
    return Slot(
        english=(f"{num_steps} steps", f"{num_steps} time steps"),
        chinese=(f"{num_steps} 步", f"{num_steps} 个时间步"),
    )


def every_slot(num_steps: int) -> Slot:
    """Every 50 steps, each 50 steps."""
    return Slot(
        english=(f"every {num_steps} steps", f"each {num_steps} steps"),
        chinese=(f"每 {num_steps} 步", f"每隔 {num_steps} 步"),
    )


def rate_slot(per_picosecond: float) -> Slot:
    """0.05 /ps."""
    rate = f"{per_picosecond:g}"
    return same(f"{rate} /ps", f"{rate} 1/ps", f"{rate} ps^-1")


def scale_slot(percent: int) -> Slot:
    """0.95, 95 %."""
    return same(f"{percent / 100:g}", f"{percent} %")


def potential_clause(rng: Random, name: str, is_file: bool, chinese: bool) -> str:
    """Return a clause that names a potential by its file, or by its style."""
    ways: tuple[str, ...]
    if chinese:
        ways = (f"，势函数 {name}", f"，用 {name}") if is_file else (f"，{name} 势",)
    elif is_file:
        ways = (f", potential {name}", f" with {name}", f" using {name}")
    else:
        ways = (f", {name} potential", f" with the {name} potential")
    return rng.choice(ways)


def seed_clause(seed: int, chinese: bool) -> str:
    """Return the clause that states the random seed."""
    return f"，随机种子 {seed}" if chinese else f", seed {seed}"
