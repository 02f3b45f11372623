"""The how-to page speaks of commands, files and messages that exist."""

import re
import shlex
from pathlib import Path

import click
import pytest

from rollout_farm.cli import main

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs/howto/farm.md").read_text(encoding="utf-8")
FROM_ELSEWHERE = (  # LAMMPS, gRPC and the operating system say these; tried by hand
    "Socket closed",
    "Hostname Verification Check failed",
    "cannot be read: Permission denied",
)


def commands() -> list[str]:
    """Return the `mdx-farm` commands of the indented blocks."""
    joined = PAGE.replace("\\\n", " ")
    return re.findall(r"^ {4,}(mdx-farm .*)$", joined, flags=re.MULTILINE)


def messages() -> list[str]:
    """Return what the table of troubles quotes from MDX: rows that name no other source."""
    table = PAGE.split("## Troubleshooting")[1]
    quoted = re.findall(r"^\| `([^`]+)` \|", table, flags=re.MULTILINE)
    return [message for message in quoted if message not in FROM_ELSEWHERE]


def test_the_page_has_commands_and_messages_to_check() -> None:
    assert len(commands()) >= 6
    assert len(messages()) >= 8


@pytest.mark.parametrize("line", commands())
def test_every_command_is_one_that_the_program_takes(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in.lammps").touch()
    _, name, *arguments = shlex.split(line)
    command = main.get_command(click.Context(main), name)
    assert command is not None
    command.make_context(name, arguments)


@pytest.mark.parametrize("message", messages())
def test_every_message_is_one_that_the_farm_says(message: str) -> None:
    sources = "".join(path.read_text() for path in (ROOT / "rollout_farm").glob("*.py"))
    spoken = re.sub(r'"\s*\n\s*f?"', "", sources)  # texts that go on in the next line
    assert message in spoken


def test_every_file_is_in_the_repository() -> None:
    named = set(re.findall(r"\b(?:deploy|configs|tests)/[\w./-]*\w", PAGE))
    assert len(named) >= 7
    for path in named:
        assert (ROOT / path).exists(), path


def test_every_series_of_the_autoscaler_is_explained() -> None:
    rule = (ROOT / "deploy/kubernetes/prometheus-adapter.yaml").read_text(encoding="utf-8")
    for series in set(re.findall(r"mdx_farm_\w+(?=\{)", rule)):
        assert f"`{series}`" in PAGE
