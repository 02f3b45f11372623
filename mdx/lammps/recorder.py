"""What a script's runs really did, recorded in LAMMPS's own process.

    recorder = Recorder(lammps)             # adds the commands `mdx_run` and `mdx_minimize`
    lammps.file("in.lammps")                # which scripts instrumented by `mdx.lammps.probes` use
    runs = recorder.finish()                # also after an error; `recorder.error` says which

Before a run the recorder reads step, atoms, dt, box, pair style and fixes through the library, and
starts samplers: for `run` two `fix ave/time` (evenly spaced, and the last step), for `minimize` a
dump of one atom that carries the potential energy (fixes do not act during minimisation). After
the run it takes the samples out of reach, into its own memory, and the samplers away: an active
ave/time would make a legitimate `reset_timestep` fail. Their names are drawn anew for each run, so
nothing that a script has seen of one run helps it to forge another. Within a run only the commands
of `run ... every` could; a run that executes any but harmless ones is not `trusted`.

Only native code in this process could forge the record: keeping that out is the sandbox's work.
"""

import contextlib
import functools
import itertools
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from mdx.lammps.library import LammpsError, LammpsLibrary
from mdx.lammps.probes import NAME_PREFIX, PROBED
from mdx.lammps.run import ActiveFix, ProbedRun, Series

# A sample makes its step tally energy and virial, which doubles the cost of a Lennard-Jones step:
# one step in ten is sampled, and at most 50 (fewer steps than 100 give 10 samples). These divide
# the usual step counts, so that samples are evenly spaced.
NUM_SAMPLES = 50
_MIN_SAMPLES = 10
_SAMPLE_EVERY = 10
_MAX_SERIES = 256
_MAX_RUNS = 32
_MAX_KEPT = 1000
_MAX_FILE_BYTES = 1 << 20
_COLUMNS = (
    "step",
    "temperature",
    "potential_energy",
    "kinetic_energy",
    "pressure",
    "volume",
    "num_atoms",
    "lx",
    "ly",
    "lz",
)
_BEFORE = "info fixes out overwrite {t}i"
_BEFORE_RUN = (
    "compute {t}t all temp",
    "compute {t}p all pressure {t}t",
    "compute {t}u all pe",
    "compute {t}k all ke",
    "variable {t}v equal vol",
    "variable {t}a equal count(all)",
    "variable {t}x equal lx",
    "variable {t}y equal ly",
    "variable {t}w equal lz",
    "variable {t}f atom fx==0.0&&fy==0.0&&fz==0.0",
    "compute {t}f all reduce sum v_{t}f",
    "fix {t}s all ave/time {every} 1 {every} {columns} append {t} format ' %.12g'",
    "fix {t}l all ave/time 1 1 {last} {columns} c_{t}f append {t} format ' %.12g'",
)
_SAMPLED = "c_{t}t c_{t}u c_{t}k c_{t}p v_{t}v v_{t}a v_{t}x v_{t}y v_{t}w"
_AFTER_RUN = (
    "unfix {t}s",
    "unfix {t}l",
    *(f"uncompute {{t}}{c}" for c in "fptuk"),
    *(f"variable {{t}}{c} delete" for c in "vaxywf"),
)
_BEFORE_MINIMIZE = (
    "compute {t}u all pe",
    "variable {t}q equal c_{t}u",
    "variable {t}m atom v_{t}q",
    "dump {t}d all custom 1000000000 {t} v_{t}m",
    "dump_modify {t}d first yes append yes thresh id < 2 format float %.12g",
)
_AFTER_MINIMIZE = (
    "undump {t}d",
    "uncompute {t}u",
    *(f"variable {{t}}{c} delete" for c in "qm"),
)
_COMMANDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "run": (_BEFORE_RUN, _AFTER_RUN),
    "minimize": (_BEFORE_MINIMIZE, _AFTER_MINIMIZE),
}
_INTEGER = re.compile(r"-?[0-9]{1,18}")
_FIX = re.compile(r"^Fix\[.*?\]:.*?, *style = (\S+), *group = (\S+)", re.MULTILINE)
# what `run ... every` may do: it neither defines anything nor writes to a file
_HARMLESS = re.compile(r"NULL|print\s+(\"[^\"]*\"|'[^']*'|[^\s\"']+)")
_SUBSTITUTED = re.compile(r"\$[^(]")


@dataclass(frozen=True, kw_only=True)
class _OpenRun:
    """A run that has begun."""

    tag: str
    after: tuple[str, ...]  # commands that take the samplers away
    run: ProbedRun  # as known so far


class Recorder:
    """Does and records the runs of the scripts of one LAMMPS instance.

    `note` says why the record is incomplete, None if it is not. `error` is LAMMPS's message where a
    run ended in one: that of the script itself then only says that it was stopped. `on_error` is
    called before it is.
    """

    def __init__(self, lammps: LammpsLibrary, on_error: Callable[[], None] = lambda: None):
        self.note: str | None = None
        self.error: str | None = None
        self._lammps = lammps
        self._on_error = on_error
        self._runs: list[ProbedRun] = []
        self._open: _OpenRun | None = None
        for name, probed in PROBED.items():
            lammps.add_command(probed, functools.partial(self._probe, name))

    def _probe(self, name: str, arguments: list[str]) -> None:
        """Do `run` or `minimize` between two looks; never raises."""
        words = [name, *_without_pre_no(arguments)]
        self._try(self._before, words)
        try:
            self._lammps.command(" ".join([name, *map(_quoted, words[1:])]))
        except LammpsError as failure:
            self._stop(str(failure))
            return
        self._try(self._after)

    def _try(self, look: Callable[..., None], *arguments: object) -> None:
        try:
            look(*arguments)
        except (LammpsError, OSError, ValueError, LookupError, MemoryError) as failure:
            self.note = f"{type(failure).__name__}: {failure}"

    def _stop(self, error: str) -> None:
        """End the script, as an error ends it: a jump to nowhere is one that nothing survives."""
        if self.error is None:
            self.error = error
            self._on_error()
        with contextlib.suppress(LammpsError):
            self._lammps.command(f"jump SELF {NAME_PREFIX}{os.urandom(6).hex()}")

    def finish(self) -> tuple[ProbedRun, ...]:
        """Return every run that was begun, in order.

        More than 32 runs are joined where one continues the other; series are thinned to 256.
        """
        if self._open:  # an error ended it; LAMMPS may be in any state
            self._keep(self._open, self._lammps.num_atoms(), finished=False)
        runs = self._runs if len(self._runs) <= _MAX_RUNS else _joined(self._runs)
        return tuple(replace(run, series=_thinned(run.series)) for run in runs)

    def _before(self, words: Sequence[str]) -> None:
        lammps = self._lammps
        num_steps = _asked_steps(words)
        if lammps.extract_setting("box_exist") != 1 or num_steps is None:
            return  # LAMMPS will say what is wrong
        tag = f"{NAME_PREFIX}{os.urandom(6).hex()}"
        step, num_atoms = lammps.global_step(), lammps.num_atoms()
        last = num_steps if "upto" in words else step + num_steps
        run = ProbedRun(
            command=words[0],
            first_step=step,
            last_step=step,
            num_atoms_before=num_atoms,
            num_atoms_after=num_atoms,
            timestep=_finite(lammps.timestep()),
            pair_style=lammps.global_string("pair_style") or "none",
            first_box_lengths=_box_lengths(lammps),
            finished=False,
            trusted=_is_harmless(words),
        )
        # what runs commands in between counts for nothing, and samplers would be in its way
        commands, after = _COMMANDS[words[0]] if run.trusted else ((), ())
        texts = [_BEFORE, *commands]
        values = {"t": tag, "every": _interval(last - step), "last": max(last, 1)}
        columns = _SAMPLED.format(t=tag)
        self._open = _OpenRun(tag=tag, after=tuple(c.format(t=tag) for c in after), run=run)
        lammps.commands([text.format(columns=columns, **values) for text in texts])
        fixes = _FIX.findall(_read(f"{tag}i"))
        os.unlink(f"{tag}i")
        active = tuple(ActiveFix(style=style, group=group) for style, group in fixes)
        self._open = replace(self._open, run=replace(run, fixes=active))

    def _after(self) -> None:
        opened, self._open = self._open, None
        if opened is None:
            return
        run = replace(opened.run, last_step=self._lammps.global_step())
        self._keep(replace(opened, run=run), self._lammps.num_atoms(), finished=True)
        self._lammps.commands(opened.after)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(opened.tag)

    def _keep(self, opened: _OpenRun, num_atoms: int, *, finished: bool) -> None:
        """Add a run with its samples to the record."""
        run, lines = opened.run, _read(opened.tag).split("\n")
        is_run = run.command == "run"
        rows, forceless = _sampled_rows(lines) if is_run else _energy_rows(lines)
        names = tuple(rows[max(rows)]) if rows else ()
        run = replace(
            run,
            last_step=run.last_step if finished else max(rows, default=run.first_step),
            num_atoms_after=num_atoms,
            series={name: tuple(rows[step][name] for step in sorted(rows)) for name in names},
            num_forceless=forceless,
            finished=finished,
        )
        self._runs.append(run)
        if len(self._runs) > _MAX_KEPT:
            self._runs = _joined(self._runs)[:_MAX_KEPT]


def _without_pre_no(words: Sequence[str]) -> list[str]:
    """Leave `pre no` out: new samplers need a set-up run."""
    for index, pair in enumerate(itertools.pairwise(words)):
        if pair[0] == "pre" and pair[1] in ("no", "off", "false"):
            return [*words[:index], *words[index + 2 :]]
    return list(words)


def _quoted(word: str) -> str:
    """Return a word as one word of a command, whatever is in it."""
    if not word or any(c in word for c in " \t\"'#$"):
        return f"'{word}'" if '"' in word and "'" not in word else f'"""{word}"""'
    return word


def _asked_steps(words: Sequence[str]) -> int | None:
    """Return the number in `run N`, 0 for a minimisation, None where it is no number."""
    if words[0] != "run":
        return 0
    return int(words[1]) if len(words) > 1 and _INTEGER.fullmatch(words[1]) else None


def _interval(num_steps: int) -> int:
    """Return every how many steps a run of this length is sampled."""
    if num_steps < 1:
        return 1
    if num_steps < _MIN_SAMPLES * _SAMPLE_EVERY:
        return math.ceil((num_steps + 1) / (_MIN_SAMPLES + 1))
    if num_steps < NUM_SAMPLES * _SAMPLE_EVERY:
        return _SAMPLE_EVERY
    return math.ceil((num_steps + 1) / (NUM_SAMPLES + 1))


def _is_harmless(words: Sequence[str]) -> bool:
    """Whether the commands of `run ... every N` leave the samplers alone as far as they show."""
    if "every" not in words:
        return True
    commands = words[words.index("every") + 2 :]
    return all(
        _HARMLESS.fullmatch(command.strip()) and not _SUBSTITUTED.search(command)
        for command in commands
    )


def _read(path: str) -> str:
    """Return the end of a sampler's file, "" where there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return ""
    with os.fdopen(descriptor, "rb") as file:
        file.seek(max(0, os.fstat(descriptor).st_size - _MAX_FILE_BYTES))
        return file.read(_MAX_FILE_BYTES).decode(errors="replace")


def _box_lengths(lammps: LammpsLibrary) -> tuple[float, float, float] | None:
    lengths = lammps.box().lengths
    return lengths if all(map(math.isfinite, lengths)) else None


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def _sampled_rows(lines: list[str]) -> tuple[dict[int, dict[str, float | None]], int | None]:
    """Return the samples by step, and how many atoms had exactly no force at the last step."""
    rows, forceless = {}, None
    for line in lines:
        fields = line.split()
        if len(fields) not in (10, 11) or not fields[0].isdecimal():
            continue
        values = [_number(field) for field in fields]
        rows[int(fields[0])] = dict(zip(_COLUMNS, values[:10], strict=True))
        if len(fields) == 11 and values[10] is not None:
            forceless = round(values[10])
    return rows, forceless


def _energy_rows(lines: list[str]) -> tuple[dict[int, dict[str, float | None]], None]:
    """Return step and potential energy from the one-atom dump of a minimisation."""
    rows: dict[int, dict[str, float | None]] = {}
    step = 0
    for line, following in itertools.pairwise(lines):
        if line == "ITEM: TIMESTEP":
            step = int(following)
        elif line.startswith("ITEM: ATOMS") and following:
            rows[step] = {"step": float(step), "potential_energy": _number(following)}
    return rows, None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _thinned(series: Mapping[str, Series]) -> Mapping[str, Series]:
    length = max(map(len, series.values()), default=0)
    stride = math.ceil(length / _MAX_SERIES)
    if stride <= 1:
        return series
    # counted from the end, so that the last step stays
    return {name: values[::-1][::stride][::-1] for name, values in series.items()}


def _joined(runs: list[ProbedRun]) -> list[ProbedRun]:
    """Join runs that continue each other with the same settings (a loop over short runs)."""
    result = [runs[0]]
    for run in runs[1:]:
        previous = result[-1]
        if _continues(previous, run):
            names = [name for name in previous.series if name in run.series]
            series = {name: previous.series[name] + run.series[name] for name in names}
            result[-1] = replace(
                previous,
                last_step=run.last_step,
                num_atoms_after=run.num_atoms_after,
                series=_thinned(series),
                num_forceless=run.num_forceless,
                finished=run.finished,
            )
        else:
            result.append(run)
    return result


def _continues(previous: ProbedRun, run: ProbedRun) -> bool:
    return (
        previous.command == run.command == "run"
        and previous.last_step == run.first_step
        and previous.num_atoms_after == run.num_atoms_before
        and previous.timestep == run.timestep
        and previous.fixes == run.fixes
        and previous.pair_style == run.pair_style
        and previous.trusted == run.trusted
    )
