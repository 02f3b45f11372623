"""Geometry only: a cubic crystal turned so that other directions lie along the axes."""

from math import sqrt
from random import Random

from mdx.tasks.families.sites import FILES, built, draw_elemental, masses
from mdx.tasks.family import Family, Simulation
from mdx.tasks.materials import Pool
from mdx.tasks.phrasing import cells_slot, material_slot, phrasings, same
from mdx.tasks.task import Check, CheckKind

# Miller indices along x, y and z. LAMMPS's turned cell is the bounding box of the cubic one.
_TURNS = (
    ((1, 1, 0), (-1, 1, 0), (0, 0, 1)),
    ((1, 1, -2), (-1, 1, 0), (1, 1, 1)),
    ((1, 0, 0), (0, 1, 1), (0, -1, 1)),
)


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a metal, an orientation and the repeats of its smallest orthogonal cell."""
    material = draw_elemental(rng, pool, ("fcc", "bcc"))
    turn = rng.choice(_TURNS)
    repeats = (rng.randint(2, 4), rng.randint(2, 4), rng.randint(1, 3))
    a = material.lattice_constant
    lengths = [
        n * sqrt(sum(i * i for i in axis)) for n, axis in zip(repeats, turn, strict=True)
    ]  # in lattice constants
    volume = lengths[0] * lengths[1] * lengths[2]
    atoms = round(volume * material.crystal.atoms_per_cell)
    orients = [
        f"orient {axis} {' '.join(map(str, miller))}"
        for axis, miller in zip("xyz", turn, strict=True)
    ]
    lattice = f"lattice {material.crystal.lattice} {a:g} " + " ".join(orients)
    corner = " ".join(f"0 {length * a:.8g}" for length in lengths)
    commands = [
        "units metal",
        lattice,
        f"region box block {corner} units box",
        "create_box 1 box",
        "create_atoms 1 box",
        *masses(material),
    ]
    words = " ".join("[" + " ".join(map(str, miller)) + "]" for miller in turn)
    slots = {
        "material": material_slot(material),
        "turn": same(words),
        "repeats": cells_slot(repeats),
    }
    lengths_checks = tuple(
        Check(kind=CheckKind.BOX_LENGTH, target=round(n * a, 4), tolerance=0.002, axis=axis)
        for n, axis in zip(lengths, "xyz", strict=True)
    )
    return built(material, commands, atoms, volume * a**3, rng.choice(FILES), slots, lengths_checks)


FAMILY = Family(
    name="oriented",
    summary="Build a crystal whose axes are along given crystal directions.",
    draw=draw,
    states_potential=False,
    phrasings=phrasings(
        terse=(
            "{material} oriented {turn} along x y z, {repeats} repeats of these vectors,"
            " {file}{extras}",
            "oriented {material}: x, y, z = {turn}, {repeats} periods -> {file}{extras}",
            "{file}: {material}, axes {turn}, {repeats} times the period in a{extras}",
        ),
        textbook=(
            "Create a periodic crystal of {material} with x, y and z along {turn}, {repeats}"
            " repeats of these lattice vectors, and write {file}{extras}.",
            "Orient {material} so that the box axes are {turn} and let the box hold {repeats}"
            " periods of each vector; save {file}{extras}.",
        ),
        goal=(
            "I need {material} with the axes {turn}, {repeats} periods long, fully periodic, as"
            " {file}{extras}.",
            "Please rotate {material} to x y z = {turn} and write {repeats} repeats to"
            " {file}{extras}.",
        ),
        steps=(
            "Define the lattice of {material} with orient {turn}. Make a box of {repeats} repeats"
            " of these vectors. Fill it. Write {file}{extras}.",
            "1. {material}, orient x y z {turn} 2. box of {repeats} periods 3. atoms"
            " 4. write_data {file}{extras}",
        ),
        chinese=(
            "{material}，x y z 取向 {turn}，重复 {repeats}，写入 {file}{extras}",
            "构建取向为 {turn}（x、y、z）的 {material} 周期晶体，沿各矢量重复 {repeats}，"
            "保存为 {file}{extras}。",
            "请生成 x、y、z 分别沿 {turn} 的 {material}，各方向周期数 {repeats}，数据文件"
            " {file}{extras}。",
        ),
    ),
)
