"""The place where hostile scripts run: one slot, canaries around it, a look at them after each.

    python arena.py USER WITHOUT < attacks.json > outcomes.jsonl

A process of its own, because it changes its user (`root`, `nobody` or `self`), its environment
and, where the kernel lets it, its mounts: /tmp, /dev/shm and the home folder are then fresh and
private, so that whatever appears there is a script's work. WITHOUT names sandbox layers to leave
out, joined by commas. The first line of output describes the arena, each other line one attack:
status, what was violated, seconds.
"""

import base64
import contextlib
import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
NOBODY = 65534
SECRET, VARIABLE = "hunter2-in-a-file", "hunter2-in-the-environment"
GOOD = """units lj
lattice fcc 0.8442
region box block 0 2 0 2 0 2
create_box 1 box
create_atoms 1 box
mass 1 1.0
pair_style lj/cut 2.5
pair_coeff 1 1 1.0 1.0
velocity all create 1.44 87287
fix 1 all nve
thermo 5
run 10
"""
LEAKS = (SECRET, VARIABLE, "root:x:")
SHARED = ("/tmp", "/var/tmp", "/dev/shm")


def main() -> None:
    """Read the attacks, run them all and write one line for each."""
    user, without = sys.argv[1], tuple(filter(None, sys.argv[2].split(",")))
    attacks = json.load(sys.stdin)
    home = os.environ["HOME"]
    private = user != "self" and seclude([*SHARED, home])
    base = Path(tempfile.mkdtemp(prefix="mdx-arena-", dir="/tmp"))
    try:
        if user == "nobody":
            os.chown(base, NOBODY, NOBODY)
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            if not os.access(sys.executable, os.X_OK):
                print(json.dumps({"skip": f"nobody may not run {sys.executable}"}))
                return
        run_all(attacks, without, base, [*SHARED, home], private)
    finally:
        if os.path.isdir(base):
            subprocess.run(["/bin/rm", "-rf", str(base)], check=False)


def seclude(folders: list[str]) -> bool:
    """Put a fresh tmpfs on each folder, and on those that only root may enter; False if denied.

    What Python needs below them stays where it is.
    """
    sys.path.insert(0, str(ROOT))
    from rollout_farm import libc

    needed = {str(ROOT), *map(os.path.realpath, (sys.prefix, sys.base_prefix)), sys.prefix}
    closed = {
        str(parent)
        for path in needed
        for parent in Path(path).parents
        if not parent.stat().st_mode & 1
    }
    covered = sorted({*folders, *closed})
    covered = [f for f in covered if not any(f.startswith(g + "/") for g in covered)]
    hidden = [path for path in needed if any(path.startswith(f + "/") for f in covered)]
    try:
        libc.unshare(libc.CLONE_NEWNS)
        libc.mount("none", "/", None, libc.MS_REC | libc.MS_PRIVATE)
    except OSError:
        return False
    sources = {path: os.open(path, os.O_PATH | os.O_DIRECTORY) for path in sorted(hidden)}
    for folder in covered:
        if os.path.isdir(folder):
            mode = 1777 if folder in SHARED else 755
            libc.mount("tmpfs", folder, "tmpfs", libc.MS_NOSUID, f"mode={mode}")
    for path, source in sources.items():
        os.makedirs(path, exist_ok=True)
        libc.mount(f"/proc/self/fd/{source}", path, None, libc.MS_BIND | libc.MS_REC)
        os.close(source)
    return True


def run_all(
    attacks: dict[str, dict], without: tuple[str, ...], base: Path, shared: list[str], private: bool
) -> None:
    """Build the arena in `base` and run everything in it, one script after the other."""
    for name in ("outside", "tmp", "home", "here"):
        (base / name).mkdir()
        if name != "tmp":
            (base / name / "canary").write_text("sings\n")
    (base / "outside" / "secret").write_text(f"units lj\n{SECRET}\nroot:x:0:0:{SECRET}\n")
    os.chdir(base / "here")
    os.environ.update(HOME=str(base / "home"), TMPDIR=str(base / "tmp"), MDX_TEST_SECRET=VARIABLE)
    tempfile.tempdir = str(base / "tmp")
    sys.path.insert(0, str(ROOT))
    with listeners(base) as (places, unheard):
        from mdx.errors import FarmError

        try:
            arena = Arena(without, base, places, shared, private)
        except FarmError as error:
            print(json.dumps({"skip": str(error)}))
            return
        hello = arena.slot.hello
        print(
            json.dumps(
                {
                    "layers": hello.layers,
                    "missing": dict(hello.missing),
                    "uid": os.getuid(),
                    "private": private,
                    "good": arena.expected,
                }
            ),
            flush=True,
        )
        for name, attack in attacks.items():
            started = time.monotonic()
            status, wrong = arena.suffer(attack)
            wrong += [f"a connection came to {place}" for place in unheard()]
            seconds = time.monotonic() - started
            print(
                json.dumps({"name": name, "status": status, "wrong": wrong, "s": seconds}),
                flush=True,
            )
        arena.slot.close()
        print(json.dumps({"name": "the end", "wrong": os.listdir(base / "tmp")}), flush=True)


@contextlib.contextmanager
def listeners(base: Path) -> Iterator[tuple[dict[str, str], object]]:
    """Listen where nobody may connect; give the places and a function that names the touched."""
    path = str(base / "outside" / "socket")
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as local:
        local.bind(path)
        local.listen()
        servers = {"the TCP port": tcp, "the unix socket": local}
        for server in servers.values():
            server.setblocking(False)

        def touched() -> list[str]:
            found = []
            for name, server in servers.items():
                with contextlib.suppress(BlockingIOError):
                    server.accept()[0].close()
                    found.append(name)
            return found

        yield {"@PORT@": str(tcp.getsockname()[1]), "@UNIX@": path}, touched


class Arena:
    """A slot with everything around it that a script must leave alone."""

    def __init__(
        self,
        without: tuple[str, ...],
        base: Path,
        places: dict[str, str],
        shared: list[str],
        private: bool,
    ):
        from mdx.lammps.library import potentials_dir

        self.base, self.without, self.shared, self.private = base, without, shared, private
        self.potentials = str(potentials_dir())
        self.places = places | {
            "@SECRET@": str(base / "outside" / "secret"),
            "@OUTSIDE@": str(base / "outside"),
            "@UP@": "../../..",
            "@HOME@": str(base / "home"),
            "@POTENTIALS@": self.potentials,
        }
        self.open_slot()
        self.before = self.look()
        self.expected = self.thermo(GOOD)

    def open_slot(self) -> None:
        """Start a slot (again) and note what belongs to it."""
        from rollout_farm.slot import Slot

        self.slot = Slot(without=self.without)
        self.processes = self.zygotes()

    def suffer(self, attack: dict) -> tuple[str, list[str]]:
        """Run one attack; return its status and what is wrong afterwards."""
        wrong: list[str] = []
        started = time.monotonic()
        try:
            result = self.run(attack)
            status = str(result.status)
            shown = visible(result)
            leaks = (*LEAKS, *attack["absent"])
            wrong += [f"the result shows {leak!r}" for leak in leaks if leak.encode() in shown]
            if result.status != "ok" and not result.error:
                wrong.append("no error text")
        except Exception as error:
            status, result = f"{type(error).__name__}: {error}", None
        if time.monotonic() - started > attack["wall_s"] + 5.0:
            wrong.append("it took far more than its time")
        try:
            wrong += self.aftermath()
        except Exception as error:
            wrong.append(f"the next script was lost: {type(error).__name__}: {error}")
        if wrong or result is None:
            self.restore()
        return status, wrong

    def restore(self) -> None:
        """Begin anew with a fresh slot, so that each attack answers for itself."""
        with contextlib.suppress(Exception):
            self.slot.close()
        subprocess.run(
            ["/bin/rm", "-rf", *map(str, (self.base / "tmp").glob("mdx-*"))], check=False
        )
        self.open_slot()
        self.before = self.look()

    def aftermath(self) -> list[str]:
        """Return what changed around the slot, and whether it still runs the next script."""
        after = self.look()
        changed = {
            k for k in self.before.keys() | after.keys() if self.before.get(k) != after.get(k)
        }
        wrong = [f"{path} changed" for path in sorted(changed)[:5]]
        if (processes := self.zygotes()) != self.processes:
            wrong.append(f"processes {processes}, before {self.processes}")
        if self.thermo(GOOD) != self.expected:
            wrong.append("the next script gave other numbers")
        return wrong

    def thermo(self, script: str) -> list:
        """Return the thermo tables of a good script, as JSON would have them."""
        result = self.run({"script": script, "files": {}, "wall_s": 20.0})
        assert result.status == "ok", result.error
        return [[table.columns, table.rows] for table in result.thermo]

    def run(self, attack: dict):
        """Run a script on the slot under tight limits."""
        from mdx.lammps.run import RunLimits, RunRequest
        from rollout_farm.outcome import to_result

        script, files = attack["script"], {}
        for name, content in attack["files"].items():
            files[name] = base64.b64decode(content)
        for word, place in self.places.items():
            script = script.replace(word, place)
        limits = RunLimits(
            wall_time_s=attack["wall_s"],
            cpu_time_s=1.0,
            memory_bytes=512 << 20,
            output_bytes=4 << 20,
        )
        request = RunRequest(script=script, files=files, limits=limits, want_outputs=("*",))
        finished = self.slot.run(request)
        return to_result(request, finished, queue_s=0.0, hello=self.slot.hello)

    def zygotes(self) -> list[int]:
        """Return the slot's process and all that descend from it or belong to its session."""
        found = {self.slot.pid}
        rows = []
        for entry in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                fields = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
                rows.append((int(entry), int(fields[1]), int(fields[3])))
        for _ in range(3):
            found |= {pid for pid, parent, session in rows if parent in found or session in found}
        return sorted(found)

    def look(self) -> dict[str, object]:
        """Return a picture of everything that scripts must not touch."""
        picture: dict[str, object] = {}
        for folder, folders, files in os.walk(self.base):
            folders.sort()
            for name in (".", *folders, *files):
                path = os.path.join(folder, name)
                status = os.lstat(path)
                content = b"" if name not in files or name == "socket" else Path(path).read_bytes()
                # the slot's own folder may be used, but must be empty again
                moment = 0 if "/mdx-slot-" in path else status.st_mtime_ns
                picture[os.path.normpath(path)] = (
                    status.st_mode,
                    moment,
                    hashlib.sha256(content).hexdigest(),
                )
        for folder in self.shared:
            names = os.listdir(folder) if os.access(folder, os.R_OK) else []
            picture[folder] = sorted(n for n in names if self.private or "mdx-was-here" in n)
        picture[self.potentials] = os.stat(self.potentials).st_mtime_ns
        return picture


def visible(result: object) -> bytes:
    """Return everything that the result shows, the outputs decoded."""
    from mdx.lammps.run import RunResult, from_json, to_json

    from_json(to_json(result), RunResult)  # a client must be able to read it
    outputs = [output.content for output in result.outputs.values()]  # type: ignore[attr-defined]
    return b"\n".join([to_json(result), *outputs])


if __name__ == "__main__":
    main()
