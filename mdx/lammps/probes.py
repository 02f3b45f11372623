"""Probes around every `run` and `minimize`: how a script's text is made to tell what it does.

    text = instrument(script)               # and `instrument_files` for what it includes
    ... LAMMPS runs `text`, with a `mdx.lammps.recorder.Recorder` behind its new commands ...
    log = strip_probes(log)                 # for people: the log as if there were no probes
    error = user_error(message)             # the same for an error message

`run` becomes `mdx_run` and `minimize` becomes `mdx_minimize`, commands of LAMMPS that are MDX's own
code in its process: they look, do what `run` or `minimize` does, and look again. The text holds no
secret: a script that reads it, or uses the commands itself, has the truth recorded.

Followed are also commands in quotes of `if`, loops by label and `jump SELF`, and, with
`instrument_files`, files that the script includes. Not followed: commands hidden in variables or
in files that the script writes itself; such steps do not count.
"""

import re
from collections.abc import Mapping

from mdx.lammps.script import Command, Script, split_words

PROBED = {"run": "mdx_run", "minimize": "mdx_minimize"}
NAME_PREFIX = "mdxp"  # of everything that a probe defines in LAMMPS; 12 hexadecimal digits follow
MAX_TEXT_BYTES = 1 << 20  # of a file that is instrumented
_OURS = re.compile(rf"{NAME_PREFIX}[0-9a-f]{{12}}|plugin: mdx_|command style mdx_")
_TIME_LEFT = "  Walltime left :"  # what a run begins with under `timer timeout`


def instrument(script_text: str) -> str:
    """Return the script with every `run` and `minimize` probed; all else stays as it is."""
    lines = script_text.splitlines()
    pieces, position = [], 0
    for command in Script.parse(script_text).commands:
        first, end = command.lines
        if command.name in PROBED:
            pieces += [*lines[position:first], _probed(lines[first])]
            position = first + 1
        elif command.name == "if" and (text := _probe_if(command)) != command.text:
            pieces += [*lines[position:first], text]
            position = end
    return "\n".join([*pieces, *lines[position:]]) + "\n"


def instrument_files(files: Mapping[str, bytes], script_text: str) -> dict[str, bytes]:
    """Return `files` with those instrumented that the script (or one of them) includes."""
    result, queue = dict(files), [script_text]
    seen: set[str] = set()
    while queue:
        for command in Script.parse(queue.pop()).commands:
            name = command.arguments[0] if command.arguments else ""
            if command.name in ("include", "jump") and name in files and name not in seen:
                seen.add(name)
                if len(files[name]) <= MAX_TEXT_BYTES:
                    text = files[name].decode(errors="replace")
                    queue.append(text)
                    result[name] = instrument(text).encode()
    return result


def strip_probes(log: str) -> str:
    """Return a log as it would be without probes and time limit."""
    lines, done = [], ""  # the command that a probed one says again
    for line in log.split("\n"):
        written = _as_written(line)
        if not (line.startswith(_TIME_LEFT) or _OURS.search(line) or (done and line == done)):
            lines.append(written)
        done = " ".join(written.partition("#")[0].split()) if written != line else ""
    return "\n".join(lines)


def user_error(message: str) -> str:
    """Return LAMMPS's error message in the words of the user's own command."""
    return strip_probes(message)


def is_ours(file_name: str) -> bool:
    """Whether a file is one that a probe wrote (and could not remove, where LAMMPS was stopped)."""
    return file_name.startswith(NAME_PREFIX) and _OURS.match(file_name) is not None


def _probed(text: str) -> str:
    """Return the first line of a command with the name of the probed command."""
    word = split_words(text)[0]
    return text[: word.start] + PROBED[word.value] + text[word.end :]


def _as_written(line: str) -> str:
    for name, probed in PROBED.items():
        line = line.replace(probed, name)
    return line


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
