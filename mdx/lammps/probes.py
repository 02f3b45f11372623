"""Probes around every `run` and `minimize`: the evidence that a script cannot forge.

    text = instrument(script, tag)          # tag: random letters and digits, e.g. "mdx" + 16 hex
    ... LAMMPS runs `text` in a folder ...
    runs = parse_runs(text_of_file)         # of the file named `tag`: what really happened
    log = strip_probes(log, tag)            # for people: the log as if there were no probes
    error = user_error(message, tag)        # the same for an error message

Each probed command becomes three: a guarded block before, the user's own line, a block after. The
block before appends step, atoms, dt, box, fixes and pair style to one file, named exactly like the
tag (it is no output of the script: leave it out), and starts samplers: for `run` two `fix
ave/time` (evenly spaced, and the last step), for `minimize` a dump of one atom that carries the
potential energy (fixes do not act during minimisation). The guard is `box_exist`: without a box
nothing is added and LAMMPS reports the user's error.

Followed are also commands in quotes of `if`, loops by label and `jump SELF`, and, with
`instrument_files`, files that the script includes. Not followed: commands hidden in variables or
in files that the script writes itself; such steps do not count. `run ... pre no` loses its
`pre no`, since new fixes need a set-up run. Positions and velocities are never touched.
"""

import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import replace

from mdx.lammps.run import ActiveFix, ProbedRun, Series
from mdx.lammps.script import Command, Script, Word, split_words

# A sample makes its step tally energy and virial, which doubles the cost of a Lennard-Jones step:
# one step in ten is sampled, and at most 50 (fewer steps than 100 give 10 samples). These divide
# the usual step counts, so that samples are evenly spaced.
NUM_SAMPLES = 50
_MIN_SAMPLES = 10
_SAMPLE_EVERY = 10
_MAX_SERIES = 256
_MAX_RUNS = 32
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
_GUARD = 'if "$(extract_setting(box_exist)) == 1" then'
_RECORD = (
    "print '{kind} $(step:%.0f) $(count(all):%.0f) $(dt:%.12g) $(lx:%.12g) $(ly:%.12g) $(lz:%.12g)'"
    " append {t} screen no",
    "info system fixes out append {t}",
)
_BEFORE_RUN = (
    "variable {t}n equal {count}",
    "variable {t}z equal $({last}:%.0f)",
    "variable {t}e equal $(ternary(v_{t}z>step,{interval},1):%.0f)",
    *_RECORD,
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
    "fix {t}s all ave/time $(v_{t}e:%.0f) 1 $(v_{t}e:%.0f) {columns} append {t} format ' %.12g'",
    "fix {t}l all ave/time 1 1 $(ternary(v_{t}z>0,v_{t}z,1):%.0f) {columns} c_{t}f append {t}"
    " format ' %.12g'",
)
_INTERVAL = (
    "ternary(v_{t}z-step<{few},ceil((v_{t}z-step+1)/{few_rows}),"
    "ternary(v_{t}z-step<{many},{every},ceil((v_{t}z-step+1)/{rows})))"
)
_SAMPLED = "c_{t}t c_{t}u c_{t}k c_{t}p v_{t}v v_{t}a v_{t}x v_{t}y v_{t}w"
_END = "print 'end $(step:%.0f) $(count(all):%.0f)' append {t} screen no"
_AFTER_RUN = (
    "unfix {t}s",
    "unfix {t}l",
    *(f"uncompute {{t}}{c}" for c in "fptuk"),
    _END,
)
_BEFORE_MINIMIZE = (
    *_RECORD,
    "compute {t}u all pe",
    "variable {t}q equal c_{t}u",
    "variable {t}m atom v_{t}q",
    "dump {t}d all custom 1000000000 {t} v_{t}m",
    "dump_modify {t}d first yes append yes thresh id < 2 format float %.12g",
)
_AFTER_MINIMIZE = ("undump {t}d", "uncompute {t}u", _END)
_TIME_LEFT = "  Walltime left :"  # what a run begins with under `timer timeout`
_COUNT = re.compile(r"\d+|.*\$.*")
_FIX = re.compile(r"^Fix\[.*?\]:.*?, *style = (\S+), *group = (\S+)", re.MULTILINE)
_PAIR = re.compile(r"^Atoms\s*=.*style = (\S+)", re.MULTILINE)


def instrument(script_text: str, tag: str) -> str:
    """Return the script with probes around every `run` and `minimize`, labels and lines kept."""
    lines = script_text.splitlines()
    pieces, position = [], 0
    for command in Script.parse(script_text).commands:
        first, end = command.lines
        probed = _probe_command(command, tag)
        if probed is not None:
            pieces += [*lines[position:first], *probed]
            position = end
    return "\n".join([*pieces, *lines[position:]]) + "\n"


def instrument_files(files: Mapping[str, bytes], script_text: str, tag: str) -> dict[str, bytes]:
    """Return `files` with those instrumented that the script (or one of them) includes."""
    result, queue = dict(files), [script_text]
    seen: set[str] = set()
    while queue:
        for command in Script.parse(queue.pop()).commands:
            name = command.arguments[0] if command.arguments else ""
            if command.name in ("include", "jump") and name in files and name not in seen:
                seen.add(name)
                text = files[name].decode(errors="replace")
                queue.append(text)
                result[name] = instrument(text, tag).encode()
    return result


def strip_probes(log: str, tag: str) -> str:
    """Remove the lines that the probes and the time limit left in a log."""
    return "\n".join(
        line for line in log.split("\n") if tag not in line and not line.startswith(_TIME_LEFT)
    )


def user_error(message: str, tag: str) -> str:
    """Return LAMMPS's error message with a probe's line replaced by the user's command."""
    if tag not in message:
        return message
    message = re.sub(rf'"""(?:(?!""").)*?{tag}(?:(?!""").)*? """ ?', "", message)
    message = re.sub(rf"variable {tag}n equal", "run", message)
    return strip_probes(message, tag) or "ERROR: Expected integer parameter in a run command"


def parse_runs(text: str) -> tuple[ProbedRun, ...]:
    """Return every run that was begun, in order, from the content of the probes' file.

    More than 32 runs are joined where one continues the other; series are thinned to 256 values.
    Raises ValueError for what no probe writes.
    """
    blocks = re.split(r"^(?=begin )", text, flags=re.MULTILINE)
    runs = [run for block in blocks if (run := _parse_run(block)) is not None]
    if len(runs) > _MAX_RUNS:
        runs = _joined(runs)
    return tuple(replace(run, series=_thinned(run.series)) for run in runs)


def _probe_command(command: Command, tag: str) -> list[str] | None:
    """Return the lines that replace a command, or None to keep it as it is."""
    if command.name == "if":
        text = _probe_if(command, tag)
        return None if text == command.text else [text]
    blocks = _blocks(command.words, tag)
    if blocks is None:
        return None
    return [blocks[0], _without_pre_no(command.text), blocks[1]]


def _blocks(words: tuple[Word, ...], tag: str) -> tuple[str, str] | None:
    """Return the blocks before and after a `run` or `minimize`; None for anything else."""
    name, arguments = words[0].value, [word.value for word in words[1:]]
    if name == "minimize":
        return _block(_BEFORE_MINIMIZE, tag, kind="begin minimize"), _block(_AFTER_MINIMIZE, tag)
    if name != "run" or not arguments or not _COUNT.fullmatch(arguments[0]):
        return None
    last = f"v_{tag}n" if "upto" in arguments else f"step+v_{tag}n"
    before = _block(_BEFORE_RUN, tag, kind="begin run", count=arguments[0], last=last)
    return before, _block(_AFTER_RUN, tag)


def _block(templates: tuple[str, ...], tag: str, **values: str) -> str:
    columns = _SAMPLED.format(t=tag)
    interval = _INTERVAL.format(
        t=tag,
        few=_MIN_SAMPLES * _SAMPLE_EVERY,
        few_rows=_MIN_SAMPLES + 1,
        many=NUM_SAMPLES * _SAMPLE_EVERY,
        every=_SAMPLE_EVERY,
        rows=NUM_SAMPLES + 1,
    )
    commands = [t.format(t=tag, columns=columns, interval=interval, **values) for t in templates]
    return f"{_GUARD} " + " ".join(f'"{command}"' for command in commands)


def _without_pre_no(run_command: str) -> str:
    return re.sub(r"\s+pre\s+no\b", "", run_command)


def _probe_if(command: Command, tag: str) -> str:
    """Return an `if` whose quoted `run` and `minimize` commands are probed."""
    text, shift = command.text, 0
    for word in command.words[1:]:
        inner = split_words(word.value) if word.quoted else ()
        blocks = _blocks(inner, tag) if inner else None
        if blocks is None:
            continue
        own = text[word.start + shift : word.end + shift]
        probed = f'"""{blocks[0]} """ {_without_pre_no(own)} """{blocks[1]} """'
        text = text[: word.start + shift] + probed + text[word.end + shift :]
        shift += len(probed) - len(own)
    return text


def _parse_run(block: str) -> ProbedRun | None:
    lines = block.split("\n")
    head = lines[0].split()
    if len(head) != 8 or head[0] != "begin":
        return None
    rows, forceless = _energy_rows(lines) if head[1] == "minimize" else _sampled_rows(lines)
    end = next((line.split() for line in lines if line.startswith("end ")), None)
    last = rows[max(rows)] if rows else {}
    first_step, num_atoms = int(head[2]), int(head[3])
    names = tuple(last)
    pair = _PAIR.search(block)
    return ProbedRun(
        command=head[1],
        first_step=first_step,
        last_step=int(end[1]) if end else max(rows, default=first_step),
        num_atoms_before=num_atoms,
        num_atoms_after=int(end[2]) if end else int(last.get("num_atoms") or num_atoms),
        timestep=float(head[4]),
        series={name: tuple(rows[step][name] for step in sorted(rows)) for name in names},
        fixes=tuple(ActiveFix(style=s, group=g) for s, g in _FIX.findall(block)),
        pair_style=pair.group(1) if pair else "",
        first_box_lengths=(float(head[5]), float(head[6]), float(head[7])),
        num_forceless=forceless,
        finished=end is not None,
    )


def _sampled_rows(lines: list[str]) -> tuple[dict[int, dict[str, float | None]], int | None]:
    """Return the samples by step, and how many atoms had exactly no force at the last step."""
    rows, forceless = {}, None
    for line in lines[1:]:
        fields = line.split()
        if len(fields) not in (10, 11) or not fields[0].isdigit():
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
    )
