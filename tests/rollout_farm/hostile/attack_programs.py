"""Scripts that want to run a program, load code, or reach another process or the network."""

from .scripts import BOX, CRASHED, DENIED, ERROR, GAS, OK, TIMEOUT, TOKEN, Attack, attack, loop

REAL = GAS.replace("units lj", "units real")
_TOUCH = f"touch @OUTSIDE@/{TOKEN}"
_TICKS = f"`{_TOUCH}`"

SHELL: dict[str, Attack] = {
    "shell": attack(f"shell {_TOUCH}\n", DENIED),
    "shell in a variable": attack(f"variable c string shell\n${{c}} {_TOUCH}\n", DENIED),
    "shell spelt from two variables": attack(
        f"variable a string she\nvariable b string ll\n${{a}}${{b}} {_TOUCH}\n", DENIED
    ),
    "shell in an if": attack(f'if "1 == 1" then "shell {_TOUCH}"\n', DENIED),
    "shell in an else": attack(f'if "1 == 2" then "" else "shell {_TOUCH}"\n', DENIED),
    "shell in run every": attack(f'{GAS}run 10 every 5 "shell {_TOUCH}"\n', DENIED),
    "shell in a generated include": attack(
        f"print 'shell {_TOUCH}' file more.in screen no\ninclude more.in\n", DENIED
    ),
    "shell in a generated jump": attack(
        f"print 'shell {_TOUCH}' file more.in screen no\njump more.in\n", DENIED
    ),
    "shell in a file that came along": attack(
        "include more.in\n", DENIED, files={"more.in": f"shell {_TOUCH}\n".encode()}
    ),
    "shell in a loop": attack(loop(f"shell {_TOUCH}\n", 5), DENIED),
    "shell after a continuation": attack(f"she&\nll {_TOUCH}\n", DENIED),
    "shell in triple quotes": attack(f'shell """{_TOUCH}"""\n', DENIED),
    "shell in the background": attack("shell sleep 100 &\n", DENIED),
    "shell that kills its parent": attack("shell 'kill -9 $PPID'\n", DENIED),
    "shell with a fork bomb": attack("shell ':(){ :|:& };:'\n", DENIED),
    "shell with a download": attack("shell curl http://127.0.0.1:@PORT@/\n", DENIED),
    "shell that prints the environment": attack("shell env\n", DENIED),
    "shell putenv, then shell": attack(
        f"shell putenv PATH=/bin:/usr/bin\nshell {_TOUCH}\n", DENIED
    ),
    "variable of style python": attack("variable x python f\nprint '${x}'\n", ERROR),
    "python": attack("python f input 0 here 'def f(): import os; os.fork()'\n", ERROR),
    "movie pipe": attack(f"{GAS}dump 1 all movie 1 m.mpg type type\nrun 1\n", DENIED, ERROR),
    "movie pipe with backticks": attack(
        f"{GAS}dump 1 all movie 1 'm{_TICKS}.mpg' type type\nrun 1\n", DENIED, ERROR
    ),
}

PIPES: dict[str, Attack] = {
    f"write a {kind} dump{with_ticks}": attack(
        f'{GAS}dump 1 all custom 1 "x{ticks}.{kind}" id x\nrun 1\n', DENIED, ERROR, OK
    )
    for kind in ("gz", "bz2", "zst", "xz", "lzma", "lz4")
    for with_ticks, ticks in (("", ""), (" with backticks", _TICKS))
} | {
    "read gzipped data with backticks": attack(f'read_data "x{_TICKS}.gz"\n', DENIED, ERROR),
    "read gzipped data that exists": attack(
        "read_data x.gz\n", DENIED, ERROR, files={"x.gz": b"\x1f\x8b\x08\0nonsense"}
    ),
    "molecule from a zst pipe": attack(f'molecule m "m{_TICKS}.zst"\n', DENIED, ERROR),
    "read_dump from an xz pipe": attack(f'{BOX}read_dump "d{_TICKS}.xz" 0 x y z\n', DENIED, ERROR),
    "write_data to a gzip pipe": attack(f'{GAS}write_data "w{_TICKS}.gz"\n', DENIED, ERROR, OK),
    "write_restart to a gzip pipe": attack(
        f'{GAS}run 0\nwrite_restart "w{_TICKS}.gz"\n', DENIED, ERROR, OK
    ),
    "write_dump to a bz2 pipe": attack(
        f'{GAS}write_dump all atom "w{_TICKS}.bz2"\n', DENIED, ERROR, OK
    ),
    "log to a gzip pipe": attack(f'log "l{_TICKS}.gz"\nprint x\n', DENIED, ERROR, OK),
    "include of a gzip pipe": attack(f'include "i{_TICKS}.gz"\n', DENIED, ERROR),
    "potential from a gzip pipe": attack(
        f"{BOX}pair_style eam\npair_coeff * * 'p{_TICKS}.gz'\n", DENIED, ERROR
    ),
    "name with a semicolon and a dollar": attack(
        f"{GAS}dump 1 all atom 1 'x;{_TOUCH};$(exit).gz'\nrun 1\n", DENIED, ERROR, OK
    ),
    "table from a gzip pipe": attack(
        f'{BOX}pair_style table linear 10\npair_coeff 1 1 "t{_TICKS}.gz" A\n', DENIED, ERROR
    ),
}

_PATH = "shell putenv PATH=/bin:/usr/bin:/usr/local/bin\n"
PIPES |= {
    f"{name}, with the way to gzip put back": attack(_PATH + script, DENIED, ERROR)
    for name, script in {
        "write a gz dump": f'{GAS}dump 1 all atom 1 "x{_TICKS}.gz"\nrun 1\n',
        "read gz data": f'print x file a.gz\nread_data "a{_TICKS}.gz"\n',
        "log to gz": f'log "l{_TICKS}.gz"\nprint x\n',
        "write a bz2 restart": f'{GAS}run 0\nwrite_restart "w{_TICKS}.bz2"\n',
    }.items()
}

NETWORK: dict[str, Attack] = {
    "imd listens": attack(f"{GAS}fix 2 all imd 9999 nowait on\nrun 1\n", DENIED),
    "ipi connects over TCP": attack(f"{REAL}fix 2 all ipi 127.0.0.1 @PORT@\nrun 1\n", DENIED),
    "ipi connects to a socket file": attack(f"{REAL}fix 2 all ipi @UNIX@ 1 unix\nrun 1\n", DENIED),
    "geturl": attack("geturl http://127.0.0.1:@PORT@/ output x\n", DENIED, ERROR),
    "geturl of a file": attack("geturl file://@SECRET@ output x\ninclude x\n", DENIED, ERROR),
    "mdi": attack("mdi engine\n", DENIED, ERROR),
    "message": attack("message client md zmq 127.0.0.1:@PORT@\n", ERROR),
    "kim": attack("kim init SW_StillingerWeber_1985_Si__MO_405512056662_006 metal\n", ERROR),
    "smd over the network": attack(f"{GAS}fix 2 all mdi/qm\nrun 1\n", DENIED, ERROR),
}

_HEADERS = """
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <netinet/in.h>
#include <unistd.h>
__attribute__((constructor)) static void attack(void) {
"""


def _native(body: str, *allowed: frozenset[str], wall_s: float = 20.0) -> Attack:
    """Return an attack by native code; a host with namespaces does not even map it (OK)."""
    source = _HEADERS + body + '\nputs("native code came to its end"); fflush(stdout); }\n'
    return attack("plugin load ./native.so\n", OK, *allowed, native=source, wall_s=wall_s)


_SHOW = "char b[4096]; int n = f < 0 ? 0 : read(f, b, 4096); if (n > 0) fwrite(b, 1, n, stdout);"

NATIVE: dict[str, Attack] = {
    "plugin that is not there": attack("plugin load nothing.so\n", OK, ERROR),
    "plugin from the C library": attack("plugin load libc.so.6\n", OK, ERROR),
    "plugin of rubbish": attack("plugin load ./x.so\n", OK, ERROR, files={"x.so": b"\x7fELF" * 99}),
    "native read of a secret": _native(f'int f = open("@SECRET@", O_RDONLY); {_SHOW}'),
    "native read of passwd": _native(f'int f = open("/etc/passwd", O_RDONLY); {_SHOW}'),
    "native read of the parent's environment": _native(
        f'char p[64]; sprintf(p, "/proc/%d/environ", getppid());int f = open(p, O_RDONLY); {_SHOW}'
    ),
    "native write outside": _native(
        f'int f = open("@OUTSIDE@/{TOKEN}", O_CREAT | O_WRONLY, 0666);if (f >= 0) write(f, "x", 1);'
    ),
    "native link to a secret": _native(
        'symlink("@SECRET@", "link"); link("@SECRET@", "hard"); rename("@SECRET@", "moved");'
    ),
    "native chmod and chown": _native(
        'chmod("@SECRET@", 0777); chown("@SECRET@", 1, 1); truncate("@SECRET@", 0);'
    ),
    "native fork": _native("if (fork() == 0) for (;;) pause();", DENIED),
    "native clone": _native("syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);", DENIED),
    "native exec": _native('execl("/bin/sh", "sh", "-c", "id", (char *)0);', DENIED),
    "native socket": _native("socket(AF_INET, SOCK_STREAM, 0);", DENIED),
    "native kill of all": _native("kill(-1, SIGKILL);", DENIED),
    "native kill of the zygote": _native("kill(getppid(), SIGKILL);", DENIED),
    "native tgkill of another": _native(
        "syscall(SYS_tgkill, getppid(), getppid(), SIGKILL);", DENIED
    ),
    "native ptrace": _native("syscall(SYS_ptrace, 16, getppid(), 0, 0);", DENIED),
    "native mount": _native("syscall(SYS_mount, 0, 0, 0, 0, 0);", DENIED),
    "native unshare": _native("syscall(SYS_unshare, 0x10000000);", DENIED),
    "native io_uring": _native("syscall(SYS_io_uring_setup, 1, 0);", DENIED),
    "native memory of the parent": _native(
        "syscall(SYS_process_vm_readv, getppid(), 0, 0, 0, 0, 0);", DENIED
    ),
    "native calls through the door of 32 bits": _native(
        """
#ifdef __x86_64__
__asm__ volatile("int $0x80" :: "a"(2) : "memory");
#else
syscall(SYS_ptrace, 0);
#endif
""",
        DENIED,
    ),
    "native use of what descriptors there are": _native(
        "for (int f = 3; f < 1024; f++) { struct stat s; if (!fstat(f, &s) && S_ISSOCK(s.st_mode))"
        ' { write(f, "{}", 2); puts("root:x: a socket was open"); } }'
    ),
    "native signal to itself": _native("raise(SIGSEGV);", CRASHED),
    "native abort": _native("abort();", CRASHED),
    "native limits raised": _native(
        "unsigned long r[2] = {-1UL, -1UL}; if (!syscall(SYS_prlimit64, 0, 1, r, 0))"
        ' puts("root:x: limits were raised");'
    ),
    "native sleep": _native("for (;;) sleep(100);", TIMEOUT, wall_s=0.4),
}
