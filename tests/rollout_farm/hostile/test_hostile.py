"""Hostile scripts under each set of layers and each user: none gets out, none breaks the slot.

What is run is in `catalogue`, where it is run and what is looked at in `arena`. Run as an ordinary
user there is one user; native code is left out where there is no C compiler.
"""

import base64
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from .catalogue import CATALOGUE, CLASSES
from .scripts import Attack

LAYERS = ("zygote", "namespaces", "limits", "landlock", "seccomp")
LEFT_OUT = ("", "namespaces", "landlock")
USERS = {"root": 0, "nobody": 65534} if os.geteuid() == 0 else {"self": os.geteuid()}
ARENAS = [(user, without) for user in USERS for without in LEFT_OUT]
Outcomes = Mapping[str, Mapping]


def _battles() -> Iterator[object]:
    for user, without in ARENAS:
        for name in CATALOGUE:
            layers = f"without {without}" if without else "all layers"
            yield pytest.param(user, without, name, id=f"{user}, {layers}: {name}")


@pytest.fixture(scope="session")
def arenas() -> Iterator[Mapping[tuple[str, str], "Future[Outcomes]"]]:
    """Start all arenas, two at a time."""
    attacks = _as_json()
    with ThreadPoolExecutor(2) as threads:
        yield {arena: threads.submit(_fight, *arena, attacks) for arena in ARENAS}


@pytest.mark.timeout(600)  # the first test of an arena waits for all of it
@pytest.mark.parametrize(("user", "without", "name"), _battles())
def test_attack_ends_as_it_should_and_nothing_else_happens(arenas, user, without, name):
    outcomes = _outcomes(arenas, user, without)
    if CATALOGUE[name].native and not shutil.which("cc"):
        pytest.skip("no C compiler")
    outcome = outcomes[name]
    assert outcome["wrong"] == []
    assert outcome["status"] in CATALOGUE[name].allowed


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("user", "without"), ARENAS)
def test_arena_is_what_it_says_and_ends_without_a_trace(arenas, user, without):
    outcomes = _outcomes(arenas, user, without)
    assert outcomes["arena"]["uid"] == USERS[user]
    layers = [layer for layer in outcomes["arena"]["layers"] if layer != "cgroup"]  # one may lack
    assert layers == [layer for layer in LAYERS if layer != without]
    assert outcomes["the end"]["wrong"] == []


@pytest.mark.timeout(600)
def test_good_script_gives_the_same_numbers_in_every_arena(arenas):
    outcomes = [future.result() for future in arenas.values()]
    numbers = [found["arena"]["good"] for found in outcomes if "skip" not in found["arena"]]
    assert len(numbers[0][0][1]) == 3
    assert all(found == numbers[0] for found in numbers)


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("without", ["namespaces,landlock", "seccomp", "limits"])
def test_slot_without_a_layer_that_it_needs_does_not_start(user, without):
    refused = _fight(user, without, "{}")["arena"]["skip"]
    assert f"the layer {without.split(',')[0]!r} does not hold" in refused or "nobody" in refused


def test_catalogue_is_as_broad_as_it_claims():
    assert len(CATALOGUE) >= 60
    assert all(len(attacks) >= 9 for attacks in CLASSES.values())
    statuses = {status for attack in CATALOGUE.values() for status in attack.allowed}
    assert len(statuses) == 7


def _outcomes(arenas, user: str, without: str) -> Outcomes:
    outcomes = arenas[user, without].result()
    if reason := outcomes["arena"].get("skip"):
        pytest.skip(reason)
    return outcomes


def _fight(user: str, without: str, attacks: str) -> Outcomes:
    program = [sys.executable, str(Path(__file__).with_name("arena.py")), user, without]
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]}
    done = subprocess.run(
        program, input=attacks, capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    first, *others = map(json.loads, done.stdout.splitlines())
    return {"arena": first} | {line["name"]: line for line in others}


def _as_json() -> str:
    has_compiler = shutil.which("cc") is not None
    chosen = {n: attack for n, attack in CATALOGUE.items() if has_compiler or not attack.native}
    return json.dumps({name: _encoded(attack) for name, attack in chosen.items()})


def _encoded(attack: Attack) -> dict[str, object]:
    files = dict(attack.files)
    if attack.native:
        files["native.so"] = _compiled(attack.native)
    return {
        "script": attack.script,
        "files": {name: base64.b64encode(content).decode() for name, content in files.items()},
        "absent": attack.absent,
        "wall_s": attack.wall_s,
    }


@functools.cache
def _compiled(source: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "native.so"
        command = ["cc", "-shared", "-fPIC", "-w", "-x", "c", "-", "-o", str(library)]
        subprocess.run(command, input=source, text=True, check=True)
        return library.read_bytes()
