"""What the fuzz tests throw at a worker: random bytes, spoilt messages, spoilt scripts.

Everything follows from the `Random` that is given.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from random import Random

from mdx.lammps.commands import known_styles
from mdx.lammps.run import RunLimits, to_json
from mdx.tasks.generate import draw_examples
from rollout_farm import wire
from rollout_farm.proto import farm_pb2

Message = farm_pb2.RunScriptRequest
LIMITS = RunLimits(wall_time_s=1.0, cpu_time_s=0.5, memory_bytes=256 << 20, output_bytes=1 << 20)
METHODS = (wire.RUN_METHOD, wire.RUN_METHOD, wire.WATCH_METHOD, wire.STATUS_METHOD)
LIQUID = """units lj
lattice fcc 0.8442
region box block 0 3 0 3 0 3
create_box 1 box
create_atoms 1 box
mass 1 1.0
velocity all create 1.44 87287
pair_style lj/cut 2.5
pair_coeff 1 1 1.0 1.0
fix 1 all nve
dump 1 all custom 5 dump.lj id type x y z
thermo 5
run 10
write_data data.lj
"""
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d*)?(?:e-?\d+)?(?![\w.])")
_LONG = "x" * 10_000
_NAMES = (
    *("", ".", "..", "/", "a/b", "../x", "/etc/passwd", "a\0b", "\0", "in.lammps", "now", "-rf"),
    *("é", "😀" * 60, "\n", " ", "\\", "*", "~", "a\r", "x" * 255, "x" * 256, _LONG, "\u202e"),
)
_PATTERNS = (
    "*",
    "[",
    "[!",
    "[z-a]",
    "*" * 1000,
    "?" * 3000,
    "\0",
    "**/*",
    "[[]",
    "a*" * 200,
    _LONG,
)
_NUMBERS = (-(2**31), -1, 0, 1, 7, 4096, 4097, 2**31 - 1)
_WILD = (
    *(None, True, False, 0, -1, 1, 2**31, 2**53, 2**63, 2**64, 10**30, 10**400, -(10**30)),
    *(0.0, -0.0, 1e-308, 1e308, -1e308, 0.5, "", "x", _LONG, "\0", "\ud800", "é", [], {}, [[]]),
    *([1] * 500, {"": 0}, {"kind": "units"}, "nan", "inf", "1e400", "*", "../../etc/passwd"),
)
_RAW = (
    *("NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1" * 5000, "{", "[", '"', "nul", "", " "),
    *('{"a":' * 3000, "[" * 50_000, '{"wall_time_s":1,"wall_time_s":2}', "\ufeff{}", "{}{}", "0x1"),
)
_ARGUMENTS = (
    *("0", "1", "-1", "1.0", "0.0", "1e308", "-1e308", "1e-320", "nan", "inf", "2147483647"),
    *("2147483648", "9223372036854775807", "99999999999999999999", "1e400", "*", "1*", "*1", "all"),
    *("NULL", "x", "id", "type", "v_x", "c_1", "f_1", "c_1[1]", "c_1[*]", "${x}", "$x", "$(1/0)"),
    *(
        "$(step)",
        "$(2^9999)",
        "SELF",
        "EDGE",
        "INF",
        "yes",
        "no",
        "block",
        "in.lammps",
        "/dev/null",
    ),
    *(
        "../x",
        "a.gz",
        "%",
        "%s%n",
        '"',
        "'",
        '"""',
        "&",
        "#",
        "\\",
        "$",
        "${",
        "$(",
        ")",
        "é",
        "\x01",
    ),
)
_DEFINITIONS = {  # style category -> how a command names it
    "fix": "fix f{n} all {style}",
    "compute": "compute c{n} all {style}",
    "pair": "pair_style {style}",
    "bond": "bond_style {style}",
    "angle": "angle_style {style}",
    "dihedral": "dihedral_style {style}",
    "improper": "improper_style {style}",
    "kspace": "kspace_style {style}",
    "dump": "dump d{n} all {style} 1 d{n}.txt",
    "region": "region r{n} {style}",
    "atom": "atom_style {style}",
    "minimize": "min_style {style}",
    "integrate": "run_style {style}",
    "command": "{style}",
}


def random_call(rng: Random) -> tuple[str, bytes]:
    """Return a method, known or not, and bytes that are hardly a message."""
    method = rng.choice(METHODS)
    if rng.random() < 0.1:
        name = "".join(rng.choices("abcXYZ019./_-", k=rng.randrange(40)))
        method = rng.choice((f"/{wire.SERVICE}/{name}", f"/{name}/Run", f"/{name}"))
    size = rng.choice((0, 1, 2, 5, 20, 100, 1000, 20_000))
    body = rng.randbytes(rng.randrange(size + 1))
    if rng.random() < 0.5:  # fields with the right numbers and any content
        body = b"".join(_field(rng) for _ in range(rng.randrange(6)))
    return method, body


def spoilt_call(rng: Random, bases: list[bytes]) -> tuple[str, bytes]:
    """Return a method and a message that was right before something happened to it."""
    body = rng.choice(bases)
    if rng.random() < 0.6:
        message = Message.FromString(body)
        for _ in range(rng.randrange(1, 3)):
            rng.choice(_SPOILERS)(message, rng)
        body = message.SerializeToString()
    if rng.random() < 0.6:
        body = spoilt_bytes(body, rng)
    return rng.choice(METHODS[:3]), body


def spoilt_bytes(body: bytes, rng: Random) -> bytes:
    """Return bytes of which some are other bytes, or gone, or there twice."""
    for _ in range(rng.choice((1, 1, 2, 5))):
        body = rng.choice(_BYTES)(body, rng)
    return body


def base_messages(rng: Random) -> list[bytes]:
    """Return good requests of all kinds, none slow."""
    limits = to_json(LIMITS)
    files = {"a.txt": b"1 2 3\n", "b.lmp": b"print 'b'\n", "c.dat": bytes(300)}
    messages = [
        Message(script="units lj\n", limits_json=limits),
        Message(script="print hello file a.txt\n", limits_json=limits, want_outputs=["*.txt"]),
        Message(script="include b.lmp\n", limits_json=limits, files=files, priority=1),
        Message(script="nonsense\n", limits_json=limits, without_evidence=True, files=files),
        Message(script=LIQUID, limits_json=limits, want_outputs=["dump*", "*.lj"]),
        Message(script=LIQUID, limits_json=limits, image_pixels=32, want_outputs=["final.jpg"]),
    ]
    for example in draw_examples(split="train", num_scripts=12, seed=rng.randrange(1 << 30)):
        task = to_json(example.task)
        messages.append(Message(script=LIQUID, limits_json=limits, task_json=task))
    return [message.SerializeToString() for message in messages]


def seed_scripts(folder: Path) -> list[str]:
    """Return good scripts with their runs cut short."""
    examples = draw_examples(split="train", num_scripts=18, seed=1)
    texts = [path.read_text() for path in sorted(folder.glob("*.in"))]
    texts += [LIQUID, *(example.script for example in examples)]
    return [re.sub(r"(?m)^(\s*(?:run|minimize).*?\s)\d{2,}\b", r"\g<1>5", text) for text in texts]


def spoilt_script(rng: Random, seeds: list[str]) -> str:
    """Return a script to which a few things happened."""
    lines = rng.choice(seeds).splitlines()
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        lines = rng.choice(_SCRIPT_SPOILERS)(lines, rng)
    return "\n".join(lines) + "\n"


def random_command(rng: Random) -> str:
    """Return one of LAMMPS's commands with a style that it has and any arguments."""
    category = rng.choice(list(_DEFINITIONS))
    style = rng.choice(sorted(known_styles()[category]))
    text = _DEFINITIONS[category].format(n=rng.randrange(3), style=style)
    return " ".join([text, *rng.choices(_ARGUMENTS, k=rng.randrange(9))])


def wild_json(document: bytes, rng: Random) -> bytes:
    """Return JSON in which one value is another, or text that is no JSON."""
    if rng.random() < 0.2:
        return rng.choice(_RAW).encode()
    try:
        value = json.loads(document or b"{}")
    except (ValueError, RecursionError):
        return document
    if not isinstance(value, dict) or not value:
        return json.dumps(rng.choice(_WILD)).encode()
    _replace_one(value, rng)
    return json.dumps(value).encode()


def _replace_one(value: dict | list, rng: Random) -> None:
    while True:
        key = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
        inner = value[key]
        if not (isinstance(inner, dict | list) and inner) or rng.random() < 0.2:
            break
        value = inner
    if isinstance(value, dict) and rng.random() < 0.2:
        value[rng.choice(("", "x", _LONG))] = value.pop(key)
    else:
        value[key] = rng.choice(_WILD)


def _field(rng: Random) -> bytes:
    number, kind = rng.randrange(1, 12), rng.choice((0, 1, 2, 2, 2, 2, 3, 4, 5, 7))
    content = rng.randbytes(rng.choice((0, 1, 4, 8, 30)))
    if kind == 2:
        length = len(content) if rng.random() < 0.8 else rng.choice((127, 2**14, 2**31, 2**63))
        content = _varint(length) + content
    return bytes([number << 3 | kind]) + content


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def _spoil_limits(message: Message, rng: Random) -> None:
    message.limits_json = wild_json(message.limits_json, rng)


def _spoil_task(message: Message, rng: Random) -> None:
    message.task_json = wild_json(message.task_json, rng)


def _spoil_files(message: Message, rng: Random) -> None:
    for name in rng.sample(_NAMES, rng.randrange(1, 4)):
        message.files[name] = rng.randbytes(rng.choice((0, 1, 100, 5000)))
    if rng.random() < 0.02:
        for number in range(rng.choice((300, 1500))):
            message.files[f"file{number}"] = b""


def _spoil_numbers(message: Message, rng: Random) -> None:
    message.priority = rng.choice(_NUMBERS)
    message.image_pixels = rng.choice(_NUMBERS) if message.script != LIQUID else rng.choice((-1, 9))


def _spoil_wishes(message: Message, rng: Random) -> None:
    message.want_outputs.extend(rng.choices(_PATTERNS, k=rng.choice((1, 2, 50))))
    message.without_evidence = rng.random() < 0.5


def _spoil_text(message: Message, rng: Random) -> None:
    lines = message.script.splitlines()
    message.script = "\n".join(rng.choice(_SCRIPT_SPOILERS)(lines, rng))


def _flip_bits(body: bytes, rng: Random) -> bytes:
    spoilt = bytearray(body)
    for _ in range(min(len(spoilt), rng.choice((1, 1, 3, 10)))):
        spoilt[rng.randrange(len(spoilt))] ^= 1 << rng.randrange(8)
    return bytes(spoilt)


def _truncate(body: bytes, rng: Random) -> bytes:
    return body[: rng.randrange(len(body) + 1)]


def _repeat(body: bytes, rng: Random) -> bytes:
    start = rng.randrange(len(body) + 1)
    chunk = body[start : start + rng.randrange(200)]
    return rng.choice((body + body, body + chunk, body[:start] + chunk + body[start:]))


def _insert(body: bytes, rng: Random) -> bytes:
    start = rng.randrange(len(body) + 1)
    inserted = rng.choice((rng.randbytes(4), b"\xff\xff\xff\xff\x0f", b"\xc3\x28", _field(rng)))
    return body[:start] + inserted + body[start:]


def _cut_out(body: bytes, rng: Random) -> bytes:
    start = rng.randrange(len(body) + 1)
    return body[:start] + body[start + rng.randrange(30) :]


_SPOILERS: tuple[Callable[[Message, Random], None], ...] = (
    *(_spoil_limits, _spoil_limits, _spoil_task, _spoil_task),
    *(_spoil_files, _spoil_numbers, _spoil_wishes, _spoil_text),
)
_BYTES = (_flip_bits, _truncate, _repeat, _insert, _cut_out)


def _drop_line(lines: list[str], rng: Random) -> list[str]:
    at = rng.randrange(len(lines) + 1)
    return lines[:at] + lines[at + 1 :]


def _swap_lines(lines: list[str], rng: Random) -> list[str]:
    return rng.sample(lines, len(lines)) if rng.random() < 0.1 else _edit(lines, rng, _move)


def _move(lines: list[str], at: int, rng: Random) -> list[str]:
    rest = lines[:at] + lines[at + 1 :]
    to = rng.randrange(len(rest) + 1)
    return [*rest[:to], lines[at], *rest[to:]]


def _double_line(lines: list[str], rng: Random) -> list[str]:
    return _edit(lines, rng, lambda lines, at, _: [*lines[: at + 1], *lines[at:]])


def _insert_command(lines: list[str], rng: Random) -> list[str]:
    at = rng.randrange(len(lines) + 1)
    return [*lines[:at], *(random_command(rng) for _ in range(rng.randrange(1, 3))), *lines[at:]]


def _spoil_words(lines: list[str], rng: Random) -> list[str]:
    return _edit(lines, rng, _other_words)


def _other_words(lines: list[str], at: int, rng: Random) -> list[str]:
    words = lines[at].split() or [""]
    for _ in range(rng.choice((1, 1, 2))):
        place = rng.randrange(len(words) + 1)
        new = [rng.choice(_ARGUMENTS)] if rng.random() < 0.7 else rng.choices(words, k=2)
        words[place : place + rng.randrange(2)] = new
    return [*lines[:at], " ".join(words), *lines[at + 1 :]]


def _other_numbers(lines: list[str], rng: Random) -> list[str]:
    """Change one number, and no more: most scripts live on and come to odd states."""
    places = [(at, m) for at, line in enumerate(lines) for m in _NUMBER.finditer(line)]
    if not places:
        return lines
    at, match = rng.choice(places)
    value = float(match.group())
    factor = rng.choice((-1.0, 0.0, 0.5, 0.9, 1.1, 2.0, 10.0, 1e-3))
    new = f"{round(value * factor)}" if match.group().isdigit() else f"{value * factor:.6g}"
    new = rng.choice(_ARGUMENTS) if rng.random() < 0.1 else new
    return [
        *lines[:at],
        lines[at][: match.start()] + new + lines[at][match.end() :],
        *lines[at + 1 :],
    ]


def _spoil_characters(lines: list[str], rng: Random) -> list[str]:
    return _edit(lines, rng, _other_characters)


def _other_characters(lines: list[str], at: int, rng: Random) -> list[str]:
    line = lines[at]
    place = rng.randrange(len(line) + 1)
    new = "".join(chr(rng.choice((0, 1, 9, 34, 36, 38, 39, 92, 127, 233, 0x1F600))) for _ in "ab")
    long = rng.choice("x &\"'$(") * rng.choice((300, 5000, 70_000))
    new = long if rng.random() < 0.1 else new
    return [*lines[:at], line[:place] + new + line[place:], *lines[at + 1 :]]


def _edit(
    lines: list[str], rng: Random, change: Callable[[list[str], int, Random], list[str]]
) -> list[str]:
    return change(lines, rng.randrange(len(lines)), rng) if lines else lines


_SCRIPT_SPOILERS = (
    *(_drop_line, _swap_lines, _double_line, _insert_command, _spoil_words, _spoil_characters),
    *([_other_numbers] * 8),
)
