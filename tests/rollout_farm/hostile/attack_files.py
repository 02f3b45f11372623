"""Scripts that want to read what is not theirs, or to write outside their folder."""

from .scripts import BOX, CRASHED, ERROR, GAS, OK, OUTPUT, TOKEN, Attack, attack, loop

_THEFTS = {
    "include": "include {}\n",
    "jump": "jump {}\n",
    "jump to a label": "jump {} nowhere\n",
    "read_data": "read_data {}\n",
    "read_restart": "read_restart {}\n",
    "read_dump": BOX + "read_dump {} 0 x y z\n",
    "rerun": GAS + "rerun {} dump x y z\n",
    "variable file": "variable x file {}\nprint '${{x}}'\n",
    "variable atomfile": BOX + "variable x atomfile {}\nprint '$(v_x[1])'\n",
    "molecule": "molecule m {}\n",
    "pair_coeff": BOX + "pair_style eam/alloy\npair_coeff * * {} Cu\n",
    "pair table": BOX + "pair_style table linear 10\npair_coeff 1 1 {} root\n",
    "fix property/atom": "fix 1 all property/atom i_x\nread_data {} fix 1 NULL Root\n",
    "fix tabulated": GAS + "fix 2 all ave/spatial/grid {}\nrun 1\n",
    "group from an index file": GAS + "ndx2group {}\n",
    "a log that appends": "log {} append\nprint x\n",
    "fix colvars": GAS + "fix 2 all colvars {}\nrun 1\n",
    "neb images": GAS + "fix 2 all neb 1.0\nneb 0 0 1 1 1 final {}\n",
}

_SECRETS = {
    "passwd": "/etc/passwd",
    "the secret": "@SECRET@",
    "the secret by a relative way": "@UP@/outside/secret",
}

READS: dict[str, Attack] = {
    f"{name} of {what}": attack(theft.format(path), ERROR)
    for name, theft in _THEFTS.items()
    for what, path in _SECRETS.items()
} | {
    "include of shadow": attack("include /etc/shadow\n", ERROR),
    "include of the environment": attack("include /proc/self/environ\n", ERROR),
    "include of the parent's environment": attack("include /proc/1/environ\n", ERROR),
    "include of the command line": attack("include /proc/self/cmdline\n", ERROR),
    "include of the memory map": attack("include /proc/self/maps\n", ERROR),
    "variable file of the memory map": attack(
        "variable x file /proc/self/maps\nprint '${x}'\n", ERROR
    ),
    "read of a descriptor": attack(loop("include /proc/self/fd/${turn}\n", 40), ERROR),
    "include of standard input": attack("include /dev/stdin\n", ERROR),
    "include of endless zeros": attack("include /dev/zero\n", ERROR),
    "include of the kernel's log": attack("include /dev/kmsg\n", ERROR),
    "getenv": attack(
        "variable s getenv MDX_TEST_SECRET\nvariable p getenv PATH\nprint '<${s}> <${p}>'\n", OK
    ),
    "info about the system": attack("info all\n", OK),
    "info about memory and communication": attack(f"{GAS}run 1\ninfo memory comm coeffs\n", OK),
    "is_file as an oracle": attack(
        "variable x equal is_file(@SECRET@)\nprint 'exists ${x}'\n", OK, absent=("exists 1",)
    ),
    "is_file as an oracle by a relative way": attack(
        "variable x equal is_file(@UP@/outside/secret)\nprint 'exists ${x}'\n",
        OK,
        absent=("exists 1",),
    ),
    "working directory": attack("shell cd @OUTSIDE@\ninclude secret\n", ERROR),
    "working directory, one step at a time": attack(
        "shell cd ..\nshell cd ..\nshell cd ..\nshell cd outside\ninclude secret\n", ERROR
    ),
    "rename of a secret into the job": attack("shell mv @SECRET@ mine\ninclude mine\n", ERROR),
    "potentials by a way around": attack(
        f"{BOX}pair_style eam\npair_coeff * * $(1)/../@UP@/outside/secret\n", ERROR
    ),
    "potentials moved by putenv": attack(
        f"shell putenv LAMMPS_POTENTIALS=@OUTSIDE@\n{BOX}pair_style eam\npair_coeff * * secret\n",
        ERROR,
    ),
    "addresses by printf": attack(
        f"{GAS}thermo_modify format float %lx\nrun 1\n", OK, ERROR, CRASHED, absent=("7ffc", "7fff")
    ),
}

# what a child writes down after a run, as in messages.ChildRecord
_RECORD = (
    '{"error":null,"final":{"units":"lj","step":9,"num_atoms":9,"num_types":1,"pair_style":"",'
    '"fixes":[],"box_lengths":[1,1,1]}}'
)
_TO = f"@OUTSIDE@/{TOKEN}"
_BACK = f"@UP@/outside/{TOKEN}"

WRITES: dict[str, Attack] = {
    f"{name}{how}": attack(script.format(path), ERROR, OK if name == "info" else ERROR)
    for how, path in (
        ("", _TO),
        (" by a relative way", _BACK),
        (" in the temporary folder", f"/tmp/{TOKEN}"),
    )
    for name, script in {
        "log": "log {}\nprint x\n",
        "dump": GAS + "dump 1 all atom 1 {}\nrun 1\n",
        "dump for each step": GAS + "dump 1 all atom 1 {}.*\nrun 1\n",
        "print file": "print x file {}\n",
        "print append": "print x append {}\n",
        "fix print": GAS + "fix 2 all print 1 x file {}\nrun 1\n",
        "fix ave/time": GAS + "fix 2 all ave/time 1 1 1 c_thermo_temp file {}\nrun 1\n",
        "write_data": GAS + "write_data {}\n",
        "write_restart": GAS + "run 0\nwrite_restart {}\n",
        "restart": GAS + "restart 1 {}.a {}.b\nrun 2\n".replace("{}.b", f"{TOKEN}.b"),
        "write_dump": GAS + "write_dump all xyz {}\n",
        "info": "info all out overwrite {}\n",
        "group2ndx": GAS + "group2ndx {}\n",
        "variable in a name": "variable p string {}\nprint x file ${{p}}\n",
    }.items()
} | {
    "overwrite of a secret": attack("print x file @SECRET@\n", ERROR),
    "append to a secret": attack("print x append @SECRET@\n", ERROR),
    "log over a secret": attack("log @SECRET@\n", ERROR),
    "rm outside": attack("shell rm @SECRET@\n", OK),
    "rmdir outside": attack("shell rmdir @OUTSIDE@\n", OK),
    "rmdir of the root": attack("shell rmdir /\n", OK, CRASHED),
    "rmdir of everything above": attack("shell rmdir @UP@\n", OK),
    "mkdir outside": attack(f"shell mkdir {_TO} /tmp/{TOKEN} /dev/shm/{TOKEN}\n", OK),
    "mv out of the job": attack(f"print x file a\nshell mv a {_TO}\n", OK),
    "mv of the outside": attack("shell mv @OUTSIDE@ here\n", OK),
    "write to shared memory": attack(f"print x file /dev/shm/{TOKEN}\n", ERROR),
    "write to the home folder": attack(f"print x file @HOME@/{TOKEN}\n", ERROR),
    "write to the potentials": attack("print x file @POTENTIALS@/Cu_u3.eam\n", ERROR),
    "rm of a potential": attack("shell rm @POTENTIALS@/Cu_u3.eam /potentials/Cu_u3.eam\n", OK),
    "write to every descriptor, then quit": attack(
        # 3 is the script itself
        "variable turn loop 4 40\nlabel again\n"
        "variable open equal is_file(/proc/self/fd/${turn})\n"
        f"""if "${{open}} == 1" then \"\"\"print '{_RECORD}' file /proc/self/fd/${{turn}}\"\"\"\n"""
        "next turn\njump SELF again\nquit 0\n",
        CRASHED,
    ),
    "write to a device": attack("print x file /dev/null\n", ERROR),
    "log in a folder that is not there": attack("log no/such/folder\n", ERROR),
}

_DEEP_DOWN = "echo none\n" + "shell mkdir a\nshell cd a\n" * 5

LEFTOVERS: dict[str, Attack] = {
    "a file beside the job": attack("print secret file ../left screen no\n", ERROR),
    "a folder beside the job": attack("shell mkdir ../left ../left/deep\n", OK),
    "the job moved away": attack("shell cd ..\nshell mv now later\n", OK, ERROR),
    "the job removed": attack("shell cd ..\nshell rmdir now\n", OK, ERROR),
    "the job removed and made again": attack(
        "shell cd ..\nshell rmdir now\nshell mkdir now\n", OK, ERROR
    ),
    "the job swapped for a file": attack(
        "shell cd ..\nshell mv now later\nprint x file now\n", OK, ERROR
    ),
    "a tower of folders": attack(loop("shell mkdir d\nshell cd d\n", 1500), OK, OUTPUT),
    "bytes deep down": attack(
        _DEEP_DOWN
        + loop(f"print '{'x' * 2000}' append f$(floor(v_turn/1000):%.0f) screen no\n", 12000),
        OUTPUT,
    ),
    "folders without number": attack("echo none\n" + loop("shell mkdir d${turn}\n", 10000), OUTPUT),
    "folders without number, deep down": attack(
        _DEEP_DOWN + loop("shell mkdir d${turn}\n", 10000),
        OUTPUT,
    ),
    "a chain of renames": attack(
        "print x file a screen no\n" + loop("shell mv a b\nshell mv b a\n", 500), OK
    ),
}
