"""Build the three data sets: draw, run every reference script, keep what is right, write.

    mdx-data build --config configs/tiny/data.yaml out_dir=data/tiny

draw     simulations of every family, each asked for in several phrasings, split without overlap
run      every reference script on the farm, and the broken script of every repair
keep     what ends well with R >= min_reward; a repair's broken script must not solve the task
write    MD-CodeGen from what was kept, MD-Knowledge and MD-InstructQA beside it, manifest.json

The order is that of drawing, so one seed gives one set of records (but for measured wall times).
A build that was killed goes on where it stopped, and a finished one returns at once. MD-GRPO takes
its prompts from the train split: tasks that SFT has shown, never one of the test split.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from mdx.data.datasets import SPLITS, Record, write_dataset
from mdx.errors import MdxError
from mdx.lammps.run import RunLimits, RunStatus
from mdx.tasks.generate import Example, draw_examples, skeleton
from rollout_farm.client import Farm
from trainers.data_records import Kept, code_records, digest_of, document_records, question_records
from trainers.farm_config import FarmConfig
from trainers.hooks import ProgressDisplay
from trainers.reference_runs import Job, Journal, Outcome, run_jobs, setting_of
from trainers.run_dir import write_atomically

MANIFEST = "manifest.json"
_JOURNAL = "reference_runs.jsonl"
_PASSING = 0.9
_PLACES = ("out_dir", "farm")  # configuration that does not change what is built


@dataclass(frozen=True, kw_only=True)
class BuildConfig:
    """What to build. Numbers count scripts before those that miss `min_reward` are dropped."""

    out_dir: str = "data/tiny"
    seed: int = 0
    num_train_scripts: int = 1200
    phrasings_per_script: int = 4  # of the train split; the others have one
    num_validation_scripts: int = 50
    num_test_scripts: int = 250
    num_questions: int = 1000
    families: list[str] = field(default_factory=list)  # all if empty
    material_set: str = "all"  # or "basic": the pool of materials that is drawn from
    min_reward: float = 0.95
    farm: FarmConfig = field(default_factory=FarmConfig)


Group = tuple[Example, ...]  # the phrasings of one script
Manifest = dict[str, Any]


def run(config: BuildConfig) -> Manifest:
    """Build on the farm that `config` names; return the manifest, at once if nothing is to do."""
    manifest = finished_manifest(config)
    if manifest is not None:
        return manifest
    with config.farm.connect() as farm:
        return build_data(config, farm)


def build_data(config: BuildConfig, farm: Farm) -> Manifest:
    """Build all data sets in `config.out_dir`; return the manifest that is written there.

    Raises FarmError where infrastructure fails, MdxError where no script of a split is right.
    """
    groups = draw_groups(config)
    jobs = _jobs(groups)
    setting = setting_of(config.farm.limits)
    with Journal(Path(config.out_dir) / _JOURNAL, setting) as journal:
        _run_missing(jobs, journal, farm, config.farm.limits)
        outcomes = journal.outcomes
    kept = {split: keep(groups[split], outcomes, config.min_reward) for split in SPLITS}
    for split in SPLITS:
        if not kept[split]:
            raise MdxError(
                f"no reference of the {split} split reaches R >= {config.min_reward}: see "
                f"{_JOURNAL} in {config.out_dir} for what LAMMPS said"
            )
    data_sets: dict[str, Mapping[str, Sequence[Record]]] = {
        "md_code_gen": {split: code_records(kept[split]) for split in SPLITS},
        "md_instruct_qa": question_records(config.seed, config.num_questions),
        "md_knowledge": document_records([k.example for k in kept["train"]], config.seed),
    }
    (Path(config.out_dir) / MANIFEST).unlink(missing_ok=True)  # it would vouch for what is replaced
    for name, splits in data_sets.items():
        write_dataset(name, config.out_dir, splits)
    manifest = {
        "config": _content(config),
        "drawn": _digest(jobs),
        "data_sets": {name: _summary(splits) for name, splits in data_sets.items()},
        "families": _shares_dropped(groups, kept),
    }
    write_atomically(Path(config.out_dir) / MANIFEST, json.dumps(manifest, indent=2) + "\n")
    return manifest


def finished_manifest(config: BuildConfig) -> Manifest | None:
    """Return the manifest if `out_dir` already holds what `config` asks for, else None.

    A change of the families' code counts as a change: what is drawn is part of the manifest.
    """
    file = Path(config.out_dir) / MANIFEST
    if not file.is_file():
        return None
    manifest = json.loads(file.read_text(encoding="utf-8"))
    same = manifest["config"] == _content(config)
    return manifest if same and manifest["drawn"] == _digest(_jobs(draw_groups(config))) else None


def draw_groups(config: BuildConfig) -> dict[str, list[Group]]:
    """Return the drawn examples of each split, the phrasings of a script together.

    Neither a script (up to its random seeds) nor a text occurs in two splits.
    """
    sizes = (config.num_train_scripts, config.num_validation_scripts, config.num_test_scripts)
    groups = {}
    for split, num_scripts in zip(SPLITS, sizes, strict=True):
        drawn = draw_examples(
            split=split,
            num_scripts=num_scripts,
            seed=config.seed,
            phrasings_per_script=config.phrasings_per_script if split == "train" else 1,
            families=config.families,
            material_set=config.material_set,
        )
        groups[split] = [tuple(group) for _, group in groupby(drawn, key=lambda e: e.script)]
    _check_disjoint(groups)
    return groups


def keep(groups: Sequence[Group], outcomes: Mapping[str, Outcome], min_reward: float) -> list[Kept]:
    """Return the examples whose reference solves their task, repairs with LAMMPS's real error."""
    kept = []
    for group in groups:
        reference = outcomes[_reference_job(group).key]
        for example, reward in zip(group, reference.rewards, strict=True):
            broken = outcomes[_broken_job(example).key] if example.failed_script else None
            if reference.status != RunStatus.OK or reward < min_reward:
                continue
            if broken and broken.rewards[0] >= _PASSING:
                continue
            shown = replace(example, error=broken.error) if broken else example
            kept.append(Kept(example=shown, reward=reward, outcome=reference))
    return kept


def _jobs(groups: Mapping[str, Sequence[Group]]) -> list[Job]:
    """Return every job once, in the order drawn."""
    jobs = []
    for group in (group for split in SPLITS for group in groups[split]):
        broken = [_broken_job(example) for example in group if example.failed_script]
        jobs += [_reference_job(group), *broken]
    return list({job.key: job for job in jobs}.values())


def _reference_job(group: Group) -> Job:
    return Job(script=group[0].script, tasks=tuple(example.task for example in group))


def _broken_job(example: Example) -> Job:
    assert example.failed_script is not None
    return Job(script=example.failed_script, tasks=(example.task,))


def _run_missing(jobs: Sequence[Job], journal: Journal, farm: Farm, limits: RunLimits) -> None:
    """Run the jobs that the journal does not know, showing how long it will take."""
    missing = [job for job in jobs if job.key not in journal.outcomes]
    done = len(jobs) - len(missing)
    with ProgressDisplay("reference runs", done=done, num_steps=len(jobs)) as display:
        for outcome in run_jobs(missing, farm, limits):
            journal.add(outcome)
            done += 1
            display.update(done, {"reward": outcome.rewards[0]})


def _check_disjoint(groups: Mapping[str, Sequence[Group]]) -> None:
    seen: dict[str, str] = {}
    for split in SPLITS:
        for example in (example for group in groups[split] for example in group):
            for text in (skeleton(example.script), example.task.prompt):
                assert seen.setdefault(text, split) == split, f"in two splits: {text}"


def _shares_dropped(
    groups: Mapping[str, Sequence[Group]], kept: Mapping[str, Sequence[Kept]]
) -> dict[str, dict[str, float]]:
    """Return for each family how many examples were drawn and the share that was dropped."""
    drawn = Counter(e.task.family for split in SPLITS for group in groups[split] for e in group)
    good = Counter(k.example.task.family for split in SPLITS for k in kept[split])
    return {
        family: {"num_examples": count, "share_dropped": round(1 - good[family] / count, 4)}
        for family, count in sorted(drawn.items())
    }


def _summary(splits: Mapping[str, Sequence[Record]]) -> dict[str, Any]:
    return {
        split: {"num_records": len(records), "sha256": digest_of(records)}
        for split, records in splits.items()
    }


def _content(config: BuildConfig) -> dict[str, Any]:
    return {name: value for name, value in asdict(config).items() if name not in _PLACES}


def _digest(jobs: Iterable[Job]) -> str:
    return hashlib.sha256(" ".join(job.key for job in jobs).encode()).hexdigest()
