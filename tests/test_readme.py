"""The README's tree is the tree."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("agent", "benchmarks", "evals", "mdx", "rollout_farm", "trainers")


def modules_in_readme() -> set[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    tree = text.split("<!-- tree -->")[1].split("<!-- /tree -->")[0]
    modules, folder = set(), ""
    for line in tree.splitlines():
        if match := re.match(r"    (\S+/)(\s|$)", line):
            folder = match[1]
        elif match := re.match(r"      (\S+\.py)\s+\S", line):
            modules.add(folder + match[1])
    return modules


def modules_in_git() -> set[str]:
    listing = subprocess.run(
        ["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    return {
        name
        for name in listing
        if name.split("/")[0] in PACKAGES
        and not name.endswith("__init__.py")
        and "_pb2" not in name
    }


def test_the_readme_names_every_module_and_no_other() -> None:
    assert modules_in_readme() == modules_in_git()
