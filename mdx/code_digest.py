"""The identity of MDX's own code: what stored results of runs and scores depend on beside data."""

import functools
import hashlib
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
RUNS_AND_REWARDS = ("mdx/lammps", "mdx/rewards", "mdx/tasks", "rollout_farm")


@functools.cache
def code_digest(folders: tuple[str, ...] = RUNS_AND_REWARDS) -> str:
    """Return the hash of the Python and JSON files in these folders of MDX, names and content."""
    digest = hashlib.sha256()
    for folder in folders:
        files = (path for path in (_ROOT / folder).rglob("*") if path.suffix in (".py", ".json"))
        for path in sorted(files):
            content = path.read_bytes()
            digest.update(f"{path.relative_to(_ROOT)} {len(content)}\n".encode() + content)
    return digest.hexdigest()
