"""Probes around every `run` and `minimize`: how a script's text is made to tell what it does.

    text = instrument(script)               # and `instrument_files` for what it includes
    ... LAMMPS runs `text`, with a `mdx.lammps.recorder.Recorder` behind its new commands ...
    log = strip_probes(log)                 # for people: as if there were no probes; errors too

`run` becomes `mdx_run` and `minimize` becomes `mdx_minimize`, commands of LAMMPS that are MDX's own
code in its process: they look, do what `run` or `minimize` does, and look again. The text holds no
secret: a script that reads it, or uses the commands itself, has the truth recorded.

Followed are also commands in quotes of `if`, loops by label and `jump SELF`, and, with
`instrument_files`, files that the script includes. Not followed: commands hidden in variables or
in files that the script writes itself; such steps do not count.
"""

import re
from collections.abc import Iterator, Mapping

from mdx.lammps.script import Command, Script, split_lines, split_words

PROBED = {"run": "mdx_run", "minimize": "mdx_minimize"}
NAME_PREFIX = "mdxp"  # of everything that a probe defines in LAMMPS; 12 hexadecimal digits follow
MAX_TEXT_BYTES = 1 << 20  # of a file that is instrumented
_OURS = re.compile(rf"{NAME_PREFIX}[0-9a-f]{{12}}|plugin: mdx_|command style mdx_")
_MARK = "mdx"  # in every word of a probe
_TIME_LEFT = "  Walltime left :"  # what a run begins with under `timer timeout`
_TIME_LEFT_LINE = re.compile(rf"\n{_TIME_LEFT}[^\n]*")


def instrument(script_text: str) -> str:
    """Return the script with every `run` and `minimize` probed; all else stays as it is."""
    lines = split_lines(script_text)
    pieces, position = [], 0
    for command in Script.parse(script_text).commands:
        first, end = command.lines
        if command.name in PROBED:
            name, text = _probed(lines[first], command)
            pieces += [*lines[position:first], text]
            position = first + 1 if name else end
        elif command.name == "if" and (text := _probe_if(command)) != command.text:
            pieces += [*lines[position:first], text]
            position = end
    return "\n".join([*pieces, *lines[position:]]) + "\n"


def instrument_files(files: Mapping[str, bytes], script_text: str) -> dict[str, bytes]:
    """Return `files` with those instrumented that the script (or one of them) includes."""
    result, queue = dict(files), [script_text]
    seen: set[str] = set()
    while queue:
        for name in _read_as_scripts(Script.parse(queue.pop())):
            if name in files and name not in seen:
                seen.add(name)
                if len(files[name]) <= MAX_TEXT_BYTES:
                    text = files[name].decode(errors="replace")
                    queue.append(text)
                    result[name] = instrument(text).encode()
    return result


def strip_probes(log: str) -> str:
    """Return a log or an error message as it would be without probes and time limit."""
    if _MARK not in log:
        return _TIME_LEFT_LINE.sub("", f"\n{log}")[1:]
    lines, echoed = [], None  # the name of a probed command: what it runs is echoed once more
    for line in log.split("\n"):
        if line.startswith(_TIME_LEFT):
            continue
        if echoed is None and _MARK not in line:
            lines.append(line)
            continue
        if _OURS.search(line):
            continue
        written = _as_written(line)
        name = written.split(None, 1)[0] if written.strip() else ""
        if written == line and name and name == echoed:
            echoed = None
            continue
        if written != line:
            echoed = name
        lines.append(written)
    return "\n".join(lines)


def is_ours(file_name: str) -> bool:
    """Whether a file is one that a probe wrote (and could not remove, where LAMMPS was stopped)."""
    return file_name.startswith(NAME_PREFIX) and _OURS.match(file_name) is not None


def _probed(line: str, command: Command) -> tuple[bool, str]:
    """Return whether a command's name is in its first line, and that line (else all) probed."""
    words = split_words(line)
    is_there = bool(words) and words[0].value == command.name
    text, word = (line, words[0]) if is_there else (command.text, command.words[0])
    return is_there, text[: word.start] + PROBED[command.name] + text[word.end :]


def _as_written(line: str) -> str:
    for name, probed in PROBED.items():
        line = line.replace(probed, name)
    return line


def _read_as_scripts(script: Script) -> Iterator[str]:
    """Yield the names of the files that a script includes or jumps to."""
    for command in script.commands:
        commands = [command.words]
        if command.name == "if":
            commands = [split_words(word.value) for word in command.words if word.quoted]
        for words in commands:
            if len(words) > 1 and words[0].value in ("include", "jump"):
                yield words[1].value.removeprefix("./")


def _probe_if(command: Command) -> str:
    """Return an `if` whose quoted `run` and `minimize` commands are probed."""
    pieces, position = [], 0
    for word in command.words[1:]:
        inner = split_words(word.value) if word.quoted else ()
        if inner and inner[0].value in PROBED and not inner[0].quoted:
            start = command.text.index(inner[0].value, word.start)
            pieces += [command.text[position:start], PROBED[inner[0].value]]
            position = start + len(inner[0].value)
    return "".join([*pieces, command.text[position:]])
