"""Scripts that want time, memory, disk or the log for themselves, or end in an unusual way."""

from .scripts import (
    BOX,
    CRASHED,
    ERROR,
    GAS,
    MEMORY,
    OK,
    OUTPUT,
    TIMEOUT,
    Attack,
    attack,
    loop,
)

_SOON = 0.3


def _endless(script: str, *also: frozenset[str]) -> Attack:
    # without the echo, or the log is full before the time is over
    return attack(f"echo none\n{script}", TIMEOUT, *also, wall_s=_SOON)


TIME: dict[str, Attack] = {
    "endless jump": _endless(loop("variable x equal 1\n")),
    "endless jump that prints": _endless(loop("print x screen no\n")),
    "endless jump over a file": _endless("jump in.lammps\n"),
    "jump SELF from the start": _endless("jump SELF\n"),
    "two files that jump to each other": _endless(
        "print 'jump b' file a screen no\nprint 'jump a' file b screen no\njump a\n"
    ),
    "a run without end": _endless(GAS + "thermo 0\nrun 2000000000\n"),
    "a run without end, timer off": _endless(GAS + "timer timeout off\nthermo 0\nrun 2000000000\n"),
    "a run without end, every": _endless(
        GAS + "thermo 0\nrun 2000000000 every 1000 'print x screen no'\n"
    ),
    "many runs": _endless("log none\n" + GAS + loop("run 1\n"), OUTPUT),
    "a minimisation that never converges": _endless(
        BOX + "displace_atoms all random 0.1 0.1 0.1 5\nmin_style fire\n"
        "min_modify dmax 1e-9\nminimize 0 0 1000000000 1000000000\n"
    ),
    "a huge group of atoms, slowly": _endless(
        BOX.replace("0 2 0 2 0 2", "0 20 0 20 0 20") + "neighbor 3.0 bin\nrun 10000\n", MEMORY
    ),
    "a formula of great cost": _endless(
        BOX + "variable a atom 'x*y*z*random(0,1,5)'\ncompute r all reduce sum v_a\n"
        "thermo_style custom step c_r\n" + loop("run 0\n"),
        OUTPUT,
    ),
    "random numbers until the end of time": _endless(
        BOX + loop("variable r equal $(random(0,1,9))\n")
    ),
    "create_atoms that never fits": _endless(
        BOX + "create_atoms 1 random 1000000 5 NULL overlap 10.0 maxtry 1000000\n", ERROR, OK
    ),
    "deposit that never fits": _endless(
        GAS + "fix 2 all deposit 1000000 1 1 5 region box near 9.0 attempt 100000000\nrun 100000\n"
    ),
    "shell sleep by a builtin of no use": _endless(loop("shell cd .\n")),
    "an include of itself": attack("include in.lammps\n", ERROR, CRASHED, TIMEOUT, wall_s=2.0),
    "an include chain": attack(
        "print 'include a' file a screen no\ninclude a\n", ERROR, CRASHED, TIMEOUT, wall_s=2.0
    ),
    "a variable of itself": attack(
        "variable a equal v_b\nvariable b equal v_a\nprint '$(v_a)'\n", ERROR, CRASHED
    ),
    "a variable of itself, atom style": attack(
        BOX + "variable a atom v_b+1\nvariable b atom v_a+1\nprint '$(v_a[1])'\n", ERROR, CRASHED
    ),
    "CPU time alone": attack("echo none\n" + loop("variable x equal 1\n"), TIMEOUT, wall_s=20.0),
}

MEMORY_HOGS: dict[str, Attack] = {
    "a huge lattice": attack(BOX.replace("0 2 0 2 0 2", "0 150 0 150 0 150"), MEMORY, TIMEOUT),
    "a lattice beyond all numbers": attack(
        BOX.replace("0 2 0 2 0 2", "0 1e9 0 1e9 0 1e9"),
        MEMORY,
        ERROR,
        TIMEOUT,
        CRASHED,
        wall_s=_SOON,
    ),
    "replicate": attack(BOX + "replicate 200 200 200\n", MEMORY),
    "replicate beyond all numbers": attack(BOX + "replicate 100000 100000 100000\n", MEMORY, ERROR),
    "a neighbour list of everything": attack(
        BOX.replace("0 2 0 2 0 2", "0 9 0 9 0 9")
        + "neigh_modify one 100000 page 1000000\nneighbor 30 bin\nrun 0\n",
        MEMORY,
        ERROR,
        TIMEOUT,
        CRASHED,
        wall_s=0.6,
    ),
    "a cutoff of everything": attack(
        BOX + "pair_style lj/cut 200\npair_coeff 1 1 1 1 200\nrun 0\n",
        MEMORY,
        ERROR,
        TIMEOUT,
        wall_s=0.6,
    ),
    "many types": attack(
        "region b block 0 1 0 1 0 1\ncreate_box 40000 b\npair_style lj/cut 1\npair_coeff * * 1 1\n",
        MEMORY,
        ERROR,
    ),
    "more types than an integer": attack(
        "region b block 0 1 0 1 0 1\ncreate_box 2147483647 b\n", MEMORY, ERROR, CRASHED
    ),
    "a string that doubles": attack(
        "variable a string xxxxxxxxxxxxxxxx\n" + loop("variable a string ${a}${a}\n", 40),
        MEMORY,
        ERROR,
        CRASHED,
        OUTPUT,
    ),
    "a pair table of all memory": attack(
        BOX + "pair_style table linear 2000000000\npair_coeff 1 1 t A\n",
        MEMORY,
        ERROR,
        files={"t": b"# t\n\nA\nN 2\n\n1 1.0 1.0 1.0\n2 2.0 0.5 0.5\n"},
    ),
    "a grid of all memory": attack(
        GAS + "compute g all property/grid 4000 4000 4000 id\nrun 0\n", MEMORY, ERROR
    ),
    "a mesh of all memory": attack(
        "units lj\natom_style charge\nlattice fcc 0.8\nregion b block 0 2 0 2 0 2\ncreate_box 1 b\n"
        "create_atoms 1 box\nmass 1 1\nset type 1 charge 0.1\npair_style coul/long 2.0\n"
        "pair_coeff * *\n"
        "kspace_style pppm 1e-4\nkspace_modify mesh 2048 2048 2048\nrun 0\n",
        MEMORY,
        ERROR,
        TIMEOUT,
        wall_s=4.0,
    ),
    "an average of all memory": attack(
        GAS + "fix 2 all ave/correlate 1 1000000000 1000000000 c_thermo_temp\nrun 1\n",
        MEMORY,
        ERROR,
    ),
    "an image of all memory": attack(
        GAS + "dump 1 all image 1 i.ppm type type size 100000 100000\nrun 0\n",
        MEMORY,
        ERROR,
        CRASHED,
    ),
    "bins of all memory": attack(
        GAS + "fix 2 all ave/histo 1 1 1 0 1 2000000000 vx mode vector\nrun 1\n", MEMORY, ERROR
    ),
    "a binning of a thin box": attack(
        BOX + "change_box all boundary f f f\n"
        "change_box all x final 0 1e7 y final 0 1e7 z final 0 1e7\nrun 0\n",
        MEMORY,
        ERROR,
        OK,
        TIMEOUT,
        CRASHED,
        wall_s=4.0,
    ),
}

FLOODS: dict[str, Attack] = {
    "a flood of the log": attack(loop(f"print '{'x' * 2000}'\n"), OUTPUT),
    "a flood of one file": attack(loop(f"print '{'x' * 2000}' append f screen no\n"), OUTPUT),
    "a flood of thermo lines": attack(
        GAS.replace("0 2 0 2 0 2", "0 1 0 1 0 1") + "thermo 1\nrun 10000000\n", OUTPUT
    ),
    "a flood of warnings": attack(
        GAS + loop("variable unused equal v_nothing\nreset_atoms id\nfix 9 all nve\nunfix 9\n"),
        OUTPUT,
        TIMEOUT,
        ERROR,
        wall_s=_SOON,
    ),
    "a dump of every step": attack(
        GAS + "dump 1 all custom 1 d id x y z vx vy vz\nrun 10000000\n", OUTPUT
    ),
    "a dump file of every step": attack(GAS + "dump 1 all atom 1 d.*\nrun 10000000\n", OUTPUT),
    "a gzipped dump of every step": attack(
        GAS + "dump 1 all custom/gz 1 d.*.gz id x\nrun 10000000\n", OUTPUT, ERROR
    ),
    "a restart of every step": attack(GAS + "restart 1 r.*\nrun 10000000\n", OUTPUT),
    "many files": attack(loop("print x file f${turn} screen no\n", 100000), OUTPUT),
    "many empty files by log": attack(loop("log l${turn}\n", 100000), OUTPUT),
    "many files in many folders": attack(
        loop("shell mkdir d${turn}\nprint x file d${turn}/f screen no\n", 100000), OUTPUT
    ),
    "many dumps at once": attack(
        GAS + loop("dump d${turn} all atom 1 f${turn}\n", 200) + "run 1\n", OUTPUT, ERROR
    ),
    "one big restart": attack(
        BOX.replace("0 2 0 2 0 2", "0 30 0 30 0 30") + "write_restart r\n", OUTPUT
    ),
    "one line of 8 MB": attack(
        BOX
        + "variable a string "
        + "x" * 1000
        + "\n"
        + "".join("variable a string ${a}${a}\n" for _ in range(13))
        + "print '${a}' file f\n",
        OUTPUT,
        ERROR,
        MEMORY,
        CRASHED,
    ),
    "fill, then remove": attack(
        loop(f"print '{'x' * 2000}' append f screen no\n", 1500) + "shell rm f\nprint done\n",
        OK,
        OUTPUT,
    ),
}

ENDS: dict[str, Attack] = {
    **{
        f"quit {code}".strip(): attack(f"quit {code}\n", CRASHED)
        for code in ("", 0, 1, 77, 137, 139, 255)
    },
    "quit in the middle": attack(GAS + "run 10\nquit 0\nrun 10\n", CRASHED),
    "quit in an if": attack('if "1 == 1" then quit\n', CRASHED),
    "quit in run every": attack(GAS + "run 10 every 5 'quit 0'\n", CRASHED),
    "error by hand": attack("error\n", ERROR),
    "fix halt, hard": attack(GAS + "fix 2 all halt 1 tlimit > 0 error hard\nrun 1000\n", OK, ERROR),
    "clear, then on": attack(GAS + "run 1\nclear\n" + GAS + "run 1\n", OK),
    "clear in a loop": attack(loop("clear\n" + GAS + "run 1\n", 20), OK, ERROR),
    "%n in thermo": attack(GAS + "thermo_modify format float %n\nrun 1\n", ERROR, CRASHED),
    "%s in thermo": attack(GAS + "thermo_modify format float %s\nrun 1\n", ERROR, CRASHED, OK),
    "%s in a dump": attack(
        GAS + "dump 1 all custom 1 d id x\ndump_modify 1 format line '%s %s'\nrun 1\n",
        ERROR,
        CRASHED,
        OK,
    ),
    "%n in a dump": attack(
        GAS + "dump 1 all custom 1 d id x\ndump_modify 1 format float %n\nrun 1\n", ERROR, CRASHED
    ),
    "%n in fix ave/time": attack(
        GAS + "fix 2 all ave/time 1 1 1 c_thermo_temp format %n file f\nrun 1\n", ERROR, CRASHED, OK
    ),
    "%n in fix print": attack(
        GAS + "fix 2 all print 1 '%n%n$(step:%n)'\nrun 1\n", ERROR, CRASHED, OK
    ),
    "%n in an immediate variable": attack("print '$(1.0:%n)'\n", ERROR, CRASHED, OK),
    "%s in an immediate variable": attack("print '$(1.0:%s%s%s%s)'\n", ERROR, CRASHED, OK),
    "%n in a format variable": attack(
        "variable a equal 1\nvariable b format a %n\nprint '${b}'\n", ERROR, CRASHED, OK
    ),
    "a width beyond all paper": attack("print '$(1.0:%99999999f)'\n", ERROR, CRASHED, OK, MEMORY),
    "%n in a file name": attack(GAS + "dump 1 all atom 1 d.%n.*\nrun 1\n", ERROR, OK),
    "a pad of a file name beyond all paper": attack(
        GAS + "dump 1 all atom 1 d.*\ndump_modify 1 pad 100000\nrun 1\n", ERROR, CRASHED, OK
    ),
}
