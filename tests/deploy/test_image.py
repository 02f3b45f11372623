"""What the Dockerfile says can be built from this tree; the build itself needs Docker."""

import configparser
import json
import re
import shlex
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from rollout_farm.cli import main

ROOT = Path(__file__).parent.parent.parent
DEPLOYMENT = "deploy/kubernetes/farm.yaml"


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions, with lines that go on joined."""
    text = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line]  # type: ignore[misc]


def arguments(name: str) -> list[str]:
    return [argument for instruction, argument in instructions() if instruction == name]


def copied() -> list[str]:
    words = [shlex.split(argument) for argument in arguments("COPY")]
    return [source for line in words if "--from=build" not in line for source in line[:-1]]


def metadata() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def test_every_copied_path_is_in_the_repository() -> None:
    for source in copied():
        listed = subprocess.run(["git", "ls-files", source], cwd=ROOT, capture_output=True)
        assert listed.stdout, source


def test_the_ignore_file_lets_through_what_is_copied_and_nothing_else() -> None:
    lines = (ROOT / "deploy/Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule.removeprefix("!") for rule in rules if rule.startswith("!")} == set(copied())


def test_the_build_has_every_package_and_every_file_that_setup_cfg_names() -> None:
    options, about = metadata()["options"], metadata()["metadata"]
    packages = {name.partition(".")[0] for name in options["packages"].split()}
    files = {about["license_files"], about["long_description"].removeprefix("file:").strip()}
    assert packages | files | {"setup.cfg", "pyproject.toml", "constraints.txt"} == set(copied())


def test_the_image_runs_as_the_number_that_the_pod_asks_for() -> None:
    [user] = arguments("USER")
    manifests = yaml.safe_load_all((ROOT / DEPLOYMENT).read_text(encoding="utf-8"))
    [pod] = [one["spec"]["template"]["spec"] for one in manifests if one["kind"] == "Deployment"]
    context = pod["securityContext"]
    assert user == f"{context['runAsUser']}:{context['runAsGroup']}"
    assert context["fsGroup"] == context["runAsGroup"]


@pytest.mark.parametrize("path", [DEPLOYMENT, "deploy/Dockerfile", "docs/howto/farm.md"])
def test_the_image_is_named_after_the_version(path: str) -> None:
    named = re.findall(r"mdx-farm:(\d[\w.]*)", (ROOT / path).read_text(encoding="utf-8"))
    assert named
    assert set(named) == {metadata()["metadata"]["version"]}


def test_the_worker_takes_what_the_image_starts_it_with() -> None:
    assert arguments("ENTRYPOINT") == ['["mdx-farm"]']
    [command] = arguments("CMD")
    serve, *rest = json.loads(command)
    printed = CliRunner().invoke(main, [serve, "--print-config", *rest])
    assert printed.exit_code == 0, printed.output
    config = yaml.safe_load(printed.output)
    ports = {config[key].rpartition(":")[2] for key in ("listen", "metrics_listen")}
    assert ports == set(arguments("EXPOSE")[0].split())


def test_nothing_of_a_run_or_an_environment_can_enter_the_image() -> None:
    for name in (".venv", ".git", "runs", "farm.token", "tests"):
        assert not any(fnmatch(name, source) for source in copied())
