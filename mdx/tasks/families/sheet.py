"""Two-dimensional sheets: graphene or boron nitride, stretched in its plane."""

from random import Random

from mdx.tasks.family import DEFAULT_SEED, Family, Simulation
from mdx.tasks.materials import Pool
from mdx.tasks.phrasing import Slot, phrasings, rate_slot, run_slot, same, temperature_slot
from mdx.tasks.task import Check, CheckKind, Potential

# Symbol: English, Chinese, lattice constant (A), elements, masses, style, coefficients.
_SHEETS = (
    ("graphene", "石墨烯", 2.49, ("C",), (12.011,), "tersoff", "* * BNC.tersoff C"),
    ("graphene", "石墨烯", 2.46, ("C",), (12.011,), "rebo", "* * CH.rebo C"),
    ("graphene", "石墨烯", 2.53, ("C",), (12.011,), "tersoff", "* * SiC.tersoff C"),
    ("h-BN", "六方氮化硼", 2.5, ("B", "N"), (10.81, 14.007), "tersoff", "* * BNC.tersoff B N"),
    ("h-BN", "六方氮化硼", 2.5, ("B", "N"), (10.81, 14.007), "extep", "* * BN.extep B N"),
)


def draw(rng: Random, pool: Pool) -> Simulation:
    """Draw a sheet with a potential, its size, temperature and strain rate."""
    english, chinese, a, elements, masses, style, coeff = rng.choice(_SHEETS)
    nx, ny = rng.choice(((5, 3), (6, 3), (6, 4)))
    kelvin, axis = 50 * rng.randint(2, 10), rng.choice("xy")
    rate, num_steps, dt = rng.choice((0.05, 0.1, 0.2)), rng.choice((400, 500, 600)), 0.0005
    b, c = a * 3**0.5, 20.0
    basis = " ".join(f"basis {x}" for x in ("0 0 0", "0.5 0.5 0", "0 0.333333 0", "0.5 0.833333 0"))
    second = "" if len(elements) == 1 else " basis 3 2 basis 4 2"
    commands = (
        "units metal",
        f"lattice custom 1 a1 {a:g} 0 0 a2 0 {b:.6g} 0 a3 0 0 {c:g} {basis}",
        f"region box block 0 {nx} 0 {ny} -0.5 0.5",
        f"create_box {len(elements)} box",
        f"create_atoms 1 box{second}",
        *(f"mass {i} {m:g}" for i, m in enumerate(masses, start=1)),
        f"pair_style {style}",
        f"pair_coeff {coeff}",
        f"velocity all create {2 * kelvin} {DEFAULT_SEED}",
        f"fix 1 all nvt temp {kelvin} {kelvin} 0.05",
        f"fix 2 all deform 1 {axis} erate {rate:g}",
        f"timestep {dt:g}",
        f"run {num_steps}",
    )
    atoms, strain = 4 * nx * ny, round(rate * num_steps * dt, 6)
    checks = (
        Check(kind=CheckKind.UNITS, text="metal"),
        Check(kind=CheckKind.NUM_ATOMS, target=atoms, tolerance=0.0),
        Check(kind=CheckKind.FINITE),
        Check(kind=CheckKind.ENSEMBLE, text="nvt"),
        Check(kind=CheckKind.NUM_STEPS, target=num_steps),
        Check(kind=CheckKind.TIMESTEP, target=dt),
        Check(kind=CheckKind.TEMPERATURE, target=kelvin, tolerance=0.12),
        Check(kind=CheckKind.STRAIN, target=strain, axis=axis),
    )
    file = next(word for word in coeff.split() if "." in word)
    size = f"{nx}x{ny}"
    slots = {
        "sheet": Slot(
            english=(f"{size} rectangular cells of {english} (a = {a:g} A, box 20 A in z)",),
            chinese=(f"{size} 个矩形晶胞的{chinese}（a = {a:g} A，z 向盒子 20 A）",),
        ),
        "potential": same(f"{style} ({file})"),
        "temperature": temperature_slot(kelvin),
        "axis": same(axis),
        "rate": rate_slot(rate),
        "run": run_slot(num_steps, dt),
    }
    return Simulation(
        commands=commands,
        checks=checks,
        slots=slots,
        potential=Potential(style=style, coeffs=(coeff,)),
        elements=elements,
        volume_per_atom=round(a * b * c / 4 * (1 + strain * 0.75), 4),
        num_steps=num_steps,
    )


FAMILY = Family(
    name="sheet",
    summary="Stretch graphene or hexagonal boron nitride in its plane.",
    draw=draw,
    states_potential=False,
    phrasings=phrasings(
        terse=(
            "stretch {sheet} along {axis} at {rate}, {potential}, NVT {temperature}, {run}{extras}",
            "2-D tension: {sheet}, {axis} erate {rate}, {potential}, nvt {temperature},"
            " {run}{extras}",
            "{sheet}, {potential}, deform {axis} {rate}, {temperature} NVT, {run}{extras}",
        ),
        textbook=(
            "Stretch a sheet of {sheet} along {axis} with a strain rate of {rate} in NVT at"
            " {temperature}, using {potential}, {run}{extras}.",
            "Simulate in-plane tension of {sheet} described by {potential}: {axis} at {rate}, NVT"
            " at {temperature}, {run}{extras}.",
        ),
        goal=(
            "How stiff is it along {axis}: {sheet}, {potential}, pulled at {rate}, NVT at"
            " {temperature}, {run}{extras}?",
            "I want {sheet} pulled in {axis} at {rate} and {temperature}, NVT with {potential},"
            " {run}{extras}.",
        ),
        steps=(
            "Build {sheet} with a custom lattice. Use {potential}. NVT at {temperature}. Deform"
            " {axis} with erate {rate}. Run {run}{extras}.",
            "1. {sheet} 2. {potential} 3. nvt {temperature} 4. deform {axis} erate {rate}"
            " 5. {run}{extras}",
        ),
        chinese=(
            "{sheet}，{potential}，沿 {axis} 以 {rate} 拉伸，NVT {temperature}，{run}{extras}",
            "用 {potential} 描述 {sheet}，在 {temperature} 的 NVT 下沿 {axis} 以应变率 {rate}"
            " 拉伸，"
            "{run}{extras}。",
            "请模拟二维片的面内拉伸：{sheet}，势函数 {potential}，{axis} 方向应变率 {rate}，"
            "{temperature}，NVT，{run}{extras}。",
        ),
    ),
)
