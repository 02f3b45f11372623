"""What a run's directory promises: one configuration, and a mark when everything is done.

    <run_dir>/config.yaml     the configuration that started the run, itself a valid --config
    <run_dir>/metrics.jsonl   one line a step (`trainers.hooks`)
    <run_dir>/checkpoints/    to resume (`trainers.checkpoint`)
    <run_dir>/export/         to use: a Hugging Face directory (`trainers.export`)
    <run_dir>/adapter/        with LoRA: the adapters alone, a PEFT directory (`mdx.model.peft`)
    <run_dir>/base.json       with LoRA: which weights the adapters belong to (`trainers.policy`)
    <run_dir>/complete.json   written last; the step that the export is of

A run_dir lies on a local or mounted file system: metrics are appended to and renames must be
atomic.
"""

import json
import os
from pathlib import Path
from typing import Any

import yaml

from mdx.config import dump_config
from mdx.errors import UsageError
from trainers.processes import first_says, is_first, meet

CONFIG = "config.yaml"
EXPORT = "export"
ADAPTER = "adapter"
_COMPLETE = "complete.json"

# What may change between a run and its continuation: places, cadences, the length, devices and
# how they compute (which moves results by rounding only).
_MAY_CHANGE = (
    *("run_dir", "rollout.data_dir", "data.data_dir", "checkpoint.", "optim.num_steps"),
    *("mesh.", "compute.", "farm.addresses", "farm.num_slots", "farm.patience_s"),
    *("farm.security.", "farm.connect_timeout_s"),
)


def claim_run_dir(run_dir: str, config: object) -> None:
    """Create `run_dir` for `config`, or check that what was saved there had the same one.

    Over several processes the first does it for all. Raises UsageError where a key that matters
    differs from the run that left a checkpoint: a resumed run would be neither of the two.
    """
    if is_first():
        _claim(run_dir, config)
    meet("run_dir claimed")


def _claim(run_dir: str, config: object) -> None:
    directory = Path(run_dir)
    file = directory / CONFIG
    if file.is_file() and any((directory / "checkpoints").glob("[0-9]*")):
        _check_same(file, config)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UsageError(f"run_dir must be a directory, but {run_dir} is a file") from error
    write_atomically(file, dump_config(config))


def is_complete(run_dir: str, num_steps: int) -> bool:
    """Tell whether the run reached `num_steps` and its export is whole, as process 0 sees it."""
    file = Path(run_dir) / _COMPLETE
    done = json.loads(file.read_text(encoding="utf-8"))["step"] if file.is_file() else -1
    return first_says(done) >= num_steps


def mark_complete(run_dir: str, step: int) -> None:
    """Declare the run done at `step`; its export must be in place."""
    write_atomically(Path(run_dir) / _COMPLETE, json.dumps({"step": step}) + "\n")


def write_atomically(file: Path, text: str) -> None:
    """Write `text` to `file` so that a reader finds the old content or the new, never a part."""
    partial = file.with_name(file.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, file)


def _check_same(file: Path, config: object) -> None:
    before = _flat(yaml.safe_load(file.read_text(encoding="utf-8")))
    now = _flat(yaml.safe_load(dump_config(config)))
    for key in sorted(before.keys() | now.keys()):
        old, new = before.get(key), now.get(key)
        if old != new and not key.startswith(_MAY_CHANGE):
            raise UsageError(
                f"{file.parent} was started with {key}={old}, but now {key}={new}: "
                "use another run_dir, or the old value to go on"
            )


def _flat(node: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(node, dict):
        return {prefix.rstrip("."): node}
    return {
        key: value
        for name, child in node.items()
        for key, value in _flat(child, f"{prefix}{name}.").items()
    }
