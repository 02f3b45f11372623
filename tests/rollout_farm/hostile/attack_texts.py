"""Scripts that forge results, numbers that are none, and texts that no parser expects."""

from .scripts import BOX, CRASHED, ERROR, GAS, MEMORY, OK, OUTPUT, TIMEOUT, Attack, attack, loop

_TABLE = 'print "Step Temp Press"\nprint "0 300.0 0.0"\nprint "500 300.0 0.0"\n'

FORGERIES: dict[str, Attack] = {
    "a printed thermo table": attack(_TABLE, OK),
    "a printed thermo table that is wrong": attack(
        'print "Step Temp Temp"\nprint "nan inf -inf"\nprint "1e999 0x10 1_000"\nprint "Step"\n', OK
    ),
    "a printed error": attack('print "ERROR: all is lost (src/x.cpp:1)"\n', OK),
    "a printed error before a real one": attack(
        'print "ERROR: false"\nprint "Last input line: shell rm -rf /"\nrunn 1\n', ERROR
    ),
    "a printed end": attack('print "Total wall time: 0:00:00"\nquit\n', CRASHED),
    "a printed record": attack(
        """print '{"error":null,"evidence":{"runs":[],"final":null}}'\n""", OK
    ),
    "a file named like the record": attack("print '{}' file record\nprint x file log.lammps\n", OK),
    "files named like probes": attack(
        loop("print 'begin run 0 1 1 1 1 1' file mdx${turn} screen no\n", 20), OK
    ),
    "in.lammps read back": attack("variable l file in.lammps\nprint '${l}'\n", OK),
    "in.lammps overwritten": attack(
        "print 'print new' file in.lammps screen no\njump SELF\n", OK, ERROR, TIMEOUT, wall_s=1.0
    ),
    "in.lammps removed": attack(f"shell rm in.lammps\n{GAS}run 1\n", OK),
    "in.lammps moved and jumped to": attack(
        "shell mv in.lammps x\njump SELF end\nlabel end\n", OK, ERROR
    ),
    "the folder left": attack(f"shell mkdir a\nshell cd a\n{GAS}run 1\n", OK),
    "the folder removed below itself": attack(
        f"{GAS}shell mkdir a\nshell cd a\nshell rmdir ../a\nrun 1\n", OK, ERROR
    ),
    "labels of the probes": attack(f"{GAS}label mdx\nvariable mdxn equal 1\nrun 1\n", OK),
    "guards turned off": attack(
        f'{GAS}variable run index 1\nif "0" then "run 1" else "run 2"\n', OK
    ),
    "run hidden in a variable": attack(f"{GAS}variable r string run\n${{r}} 5\n", OK),
    "thousand runs": attack(f"{GAS}thermo 0\n" + loop("run 1\n", 300), OK),
    "a name that is not UTF-8": attack(
        "print x file \udcff\n".encode(errors="surrogateescape").decode("latin-1"), OK
    ),
    "a name with a newline": attack('print x file "a\\nb"\n', OK, ERROR),
    "a name that is long": attack(f"print x file {'a' * 255}\n", OK, ERROR),
    "a name that is too long": attack(f"print x file {'a' * 4000}\n", ERROR),
    "a folder named like a given file": attack("shell mkdir a.txt\n", OK, files={"a.txt": b"x"}),
    "thermo names that are odd": attack(
        f"{GAS}variable x equal 1\nthermo_style custom step v_x temp\n"
        'thermo_modify colname 2 "ERROR: x"\nrun 1\n',
        OK,
        ERROR,
    ),
    "yaml thermo": attack(f"{GAS}thermo_modify line yaml\nrun 1\n", OK),
    "log style multi": attack(f"{GAS}thermo_style multi\nrun 1\n", OK),
}

NUMBERS: dict[str, Attack] = {
    "division by zero": attack("variable x equal 1/0\nprint '${x}'\n", ERROR),
    "modulo of zero": attack("print '$(5%0)'\n", ERROR),
    "root of a negative": attack("print '$(sqrt(-1))'\n", ERROR),
    "overflow of a power": attack("print '$(10^1000) $(exp(1000)) $(-exp(1000))'\n", OK),
    "not a number, made": attack("print '$(exp(1000)-exp(1000))'\n", OK),
    "an infinite timestep": attack(
        GAS + "variable i equal exp(1000)\ntimestep ${i}\nrun 1\n", ERROR
    ),
    "a timestep at the edge": attack(GAS + "timestep 1e308\nrun 2\n", ERROR, OK),
    "velocities without bound": attack(
        BOX + "velocity all set 1e300 0 0\nfix 1 all nve\nrun 5\n", ERROR, CRASHED
    ),
    "positions without number": attack(
        BOX + "variable n atom (x-x)/(x-x)\nset group all x v_n\nrun 1\n", ERROR, CRASHED, OK
    ),
    "forces without number": attack(
        BOX + "fix 1 all nve\nvariable n equal exp(1000)-exp(1000)\n"
        "fix 2 all addforce v_n 0 0\nrun 5\n",
        ERROR,
        OK,
    ),
    "atoms on top of each other": attack(
        BOX + "create_atoms 1 single 0 0 0\nfix 1 all nve\nrun 5\n", ERROR, OK
    ),
    "data without numbers": attack(
        "atom_style atomic\nread_data d\npair_style none\nrun 0\n",
        ERROR,
        files={
            "d": b"x\n\n1 atoms\n1 atom types\n0 nan xlo xhi\n0 inf ylo yhi\n0 1 zlo zhi\n\n"
            b"Masses\n\n1 nan\n\nAtoms\n\n1 1 nan nan nan\n"
        },
    ),
    "data that promises too much": attack(
        "read_data d\n",
        ERROR,
        CRASHED,
        files={
            "d": b"x\n\n9000000000000000000 atoms\n1 atom types\n"
            b"0 1 xlo xhi\n0 1 ylo yhi\n0 1 zlo zhi\n"
        },
    ),
    "a box without volume": attack("region b block 0 0 0 0 0 0\ncreate_box 1 b\n", ERROR),
    "a box without bound": attack(BOX + "change_box all x scale 1e308\n" * 2, OK, ERROR, CRASHED),
    "a run in a box without bound": attack(
        "region box block 0 2 0 2 0 2\ncreate_box 1 box\nmass 1 1\npair_style none\n"
        + "change_box all x scale 1e308\n" * 2
        + "run 0\n",
        OK,
        ERROR,
        CRASHED,
    ),
    "a box that shrinks to nothing": attack(
        GAS + "fix 2 all deform 1 x scale 1e-9\nrun 100\n", ERROR, CRASHED, OK, TIMEOUT, wall_s=4.0
    ),
    "a step at the edge": attack(
        GAS + "reset_timestep 9223372036854775807\nrun 10\n", ERROR, OK, TIMEOUT, wall_s=0.4
    ),
    "a step of minus one": attack(GAS + "reset_timestep -1\n", ERROR),
    "a run of minus one": attack(GAS + "run -1\n", ERROR),
    "a run beyond an integer": attack(GAS + "run 99999999999999999999\n", ERROR),
    "an array out of bounds": attack(
        GAS + "compute t all pressure thermo_temp\nprint '$(c_t[99])'\n", ERROR
    ),
    "an atom out of bounds": attack(GAS + "print '$(x[99999999999])'\n", ERROR),
    "a group of more than there are": attack(
        GAS + loop("group g${turn} union all all\n", 40), ERROR
    ),
    "a thread count beyond reason": attack(
        "package omp 100000\nsuffix omp\n" + GAS + "run 1\n", ERROR, OK, CRASHED, MEMORY
    ),
    "an accelerator that is not there": attack(
        "package gpu 1\nsuffix gpu\n" + GAS + "run 1\n", ERROR
    ),
    "processors that are not there": attack("processors 4 4 4\n" + GAS + "run 1\n", ERROR),
    "partitions that are not there": attack("partition yes 7 print x\n", ERROR),
    "prd on one replica": attack(
        GAS + "compute e all event/displace 0.5\nprd 10 1 1 1 1 e 5\n", ERROR, OK, CRASHED
    ),
    "neigh_modify out of reason": attack(
        GAS + "neigh_modify one 0 page 0\nrun 1\n", ERROR, CRASHED
    ),
    "read of its own broken restart": attack(
        "read_restart r\n", ERROR, CRASHED, files={"r": b"LammpS RestartT\0" + bytes(400)}
    ),
    "read of a restart of rubbish": attack(
        "read_restart r\n", ERROR, CRASHED, files={"r": b"\xff" * 4096}
    ),
}

_LONG = 1 << 20

TEXTS: dict[str, Attack] = {
    "nothing": attack("", OK),
    "blanks": attack(" \n\t\n\n", OK),
    "a comment": attack("# nothing", OK),
    "no newline at the end": attack("print x", OK),
    "CRLF": attack(GAS.replace("\n", "\r\n") + "run 1\r\n", OK),
    "CR alone": attack(GAS.replace("\n", "\r") + "run 1\r", OK, ERROR),
    "a NUL byte": attack("print a\0b\nprint c\n", OK, ERROR),
    "binary": attack("".join(map(chr, range(256))) * 20, ERROR, OK),
    "an ELF file": attack("\x7fELF\x02\x01\x01" + "\0" * 200, ERROR, OK),
    "unicode": attack("print 'Ångström → 原子 🧪'\n", OK),
    "unicode spaces and quotes": attack("print\u00a0“x”\n", ERROR, OK),
    "a byte order mark": attack("\ufeffunits lj\n", OK, ERROR),
    "right to left": attack("print '\u202e0001 nur'\n", OK),
    "escape sequences of a terminal": attack("print '\x1b]0;x\x07\x1b[2J'\n", OK),
    "one long line": attack("print '" + "x" * _LONG + "'\n", OK, ERROR),
    "one long word": attack("x" * _LONG + "\n", ERROR),
    "one long comment": attack("#" * _LONG + "\n", OK),
    "many words": attack("print " + "x " * 100000 + "\n", ERROR),
    "many lines": attack("variable x equal 1\n" * 20000, OK),
    "more than the job may hold": attack("#" * (6 << 20), OUTPUT, ERROR),
    "many continuations": attack("print x&\n" * 20000, ERROR, OK),
    "many labels": attack("".join(f"label l{i}\n" for i in range(20000)), OK),
    # Each level copies all that is inside, so four times the levels take sixteen times as long:
    # 20,000 of them use up the CPU limit on a slow machine, and it is not that limit's turn here.
    "deep brackets": attack(
        "print '$(" + "(" * 8000 + "1" + ")" * 8000 + ")'\n", OK, ERROR, CRASHED, MEMORY
    ),
    "deep functions": attack(
        "variable x equal " + "sqrt(" * 3000 + "1" + ")" * 3000 + "\nprint '$(v_x)'\n",
        OK,
        ERROR,
        CRASHED,
    ),
    "deep minus signs": attack(
        "variable x equal " + "-" * 100000 + "1\nprint '$(v_x)'\n", OK, ERROR, CRASHED
    ),
    "deep ifs": attack(
        'if "' + "(" * 5000 + "1" + ")" * 5000 + '" then "print x"\n', OK, ERROR, CRASHED
    ),
    "deep immediates": attack("print '" + "$(1+" * 200 + "1" + ")" * 200 + "'\n", OK, ERROR),
    "a variable in a variable in ...": attack(
        "".join(f"variable v{i} string ${{v{i - 1}}}x\n" for i in range(1, 500)).join(
            ["variable v0 string x\n", ""]
        ),
        OK,
        ERROR,
    ),
    "an open quote": attack("print 'x\nrun 1\n", ERROR),
    "an open triple quote": attack('print """x\nrun 1\n', ERROR),
    "an open brace": attack("print ${x\nprint $(1\n", ERROR),
    "an open if": attack('if "1 == 1" then "print x\n', ERROR),
    "a backtick": attack("print `id`\n", OK, absent=("uid=",)),
    "a jump to a label that is not there": attack("jump SELF nowhere\nprint x\n", ERROR, OK),
    "a next of nothing": attack("next x\n", ERROR),
    "only ampersands": attack("&\n" * 100, OK, ERROR),
    "percent signs": attack("print '%s%s%s%n%n'\n", OK),
    "a probe's own words": attack(
        GAS + 'if "$(extract_setting(box_exist)) == 1" then "run 1"\n', OK
    ),
}
