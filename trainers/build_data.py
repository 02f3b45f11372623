"""Build the three data sets: draw, run every reference script, keep what is right, write.

    mdx-data build --config configs/tiny/data.yaml out_dir=data/tiny
    mdx-data build --config configs/data/full.yaml --corpus configs/corpus.yaml corpus.root=DIR

draw     simulations of every family, each asked for in one or more phrasings, split by split
run      every reference script on the farm, and the broken script of every repair
keep     what ends well with R >= min_reward; a repair's broken script must not solve the task,
         and must end in a way that does not depend on the machine
write    MD-CodeGen from what was kept, MD-Knowledge and MD-InstructQA beside it, with the texts and
         questions of a corpus where one is given (`build_corpus`), the data sets' cards,
         timings.jsonl, and manifest.json once all of it is there

The order is that of drawing, and nothing is selected by measured times (`reference_facts`), nor is
anything kept that could end at a limit or in a crash (`broken_scripts`), so one seed gives the same
files, byte for byte, whatever the farm's size or load; only `timings.jsonl` differs. A build that
was killed goes on where it stopped, and a finished one returns at once.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdx.corpus.config import CorpusConfig
from mdx.data.datasets import Record, write_dataset
from mdx.errors import MdxError
from mdx.lammps.run import RunStatus
from mdx.tasks.generate import Example, draw_groups
from mdx.tasks.splits import skeleton
from rollout_farm.client import Farm
from trainers.broken_scripts import depends_on_machine, may_take_long
from trainers.build_config import BuildConfig, Plan, plans_of
from trainers.build_manifest import (
    MANIFEST,
    Manifest,
    check_disjoint,
    corpus_content,
    finished_manifest,
    make_manifest,
)
from trainers.data_cards import write_cards
from trainers.data_records import Kept, code_records, document_records, question_records
from trainers.hooks import ProgressDisplay, StagesDisplay
from trainers.reference_runs import Job, Outcome, RunJournal, run_jobs, setting_of
from trainers.run_dir import write_atomically

if TYPE_CHECKING:
    from trainers.build_corpus import DataSets

TIMINGS = "timings.jsonl"
_JOURNAL = "reference_runs.jsonl"
_PASSING = 0.9

Group = tuple[Example, ...]  # the phrasings of one script


@dataclass(frozen=True, kw_only=True)
class SplitResult:
    """What became of the groups that were drawn for one split."""

    groups: list[Group] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    dropped: Counter[tuple[str, str]] = field(default_factory=Counter)  # (family, reason)
    passed_over: Counter[str] = field(default_factory=Counter)  # by reason: no fault of theirs


def run(config: BuildConfig, corpus: CorpusConfig | None = None) -> Manifest:
    """Build on the farm that `config` names; return the manifest, at once if nothing is to do."""
    manifest = finished_manifest(config, corpus)
    if manifest is not None:
        return manifest
    with config.farm.connect() as farm:
        return build_data(config, farm, corpus)


def build_data(config: BuildConfig, farm: Farm, corpus: CorpusConfig | None = None) -> Manifest:
    """Build all data sets in `config.out_dir`; return the manifest that is written there.

    The documents and questions of `corpus` are added to those that MDX itself makes. Raises
    FarmError where infrastructure fails, MdxError where no script of a split is right.
    """
    out_dir = Path(config.out_dir)
    plans = plans_of(config)
    with (
        RunJournal(out_dir / _JOURNAL, setting_of(config.farm.limits)) as journal,
        ProgressDisplay(
            "reference scripts", done=0, num_steps=sum(plan.num_scripts for plan in plans)
        ) as display,
    ):
        workshop = _Workshop(config, farm, journal, display)
        results = {plan.split: workshop.fill(plan) for plan in plans}
    for split, result in results.items():
        if not result.kept:
            raise MdxError(
                f"no reference of the {split} split reaches R >= {config.min_reward}: see "
                f"{_JOURNAL} in {config.out_dir} for what LAMMPS said"
            )
    texts, facts = _texts(config, corpus)
    (out_dir / MANIFEST).unlink(missing_ok=True)  # it would vouch for what is replaced
    data_sets: dict[str, Mapping[str, Sequence[Record]]] = {
        "md_code_gen": {split: code_records(result.kept) for split, result in results.items()},
        "md_instruct_qa": _joined(
            question_records(config.seed, config.num_questions), texts.get("md_instruct_qa", {})
        ),
        "md_knowledge": _joined(
            document_records([k.example for k in results["train"].kept], config.seed),
            texts.get("md_knowledge", {}),
        ),
    }
    for name, splits in data_sets.items():
        write_dataset(name, config.out_dir, splits)
    _write_timings(out_dir / TIMINGS, [k for result in results.values() for k in result.kept])
    proof = check_disjoint(config.out_dir)
    manifest = {**make_manifest(config, data_sets, results, proof), **facts}
    manifest = write_cards(config.out_dir, manifest)
    write_atomically(out_dir / MANIFEST, json.dumps(manifest, indent=2) + "\n")
    return manifest


def _texts(config: BuildConfig, corpus: CorpusConfig | None) -> tuple["DataSets", dict[str, Any]]:
    """Return the records of the corpus, which is built below out_dir, and its facts."""
    if corpus is None:
        return {}, {}
    from trainers.build_corpus import corpus_records  # needs the extra `data`

    corpus = replace(corpus, out_dir=str(Path(config.out_dir) / "corpus"))
    with StagesDisplay() as progress:
        records, facts = corpus_records(corpus, progress)
    return records, {"corpus": {"made_by": corpus_content(corpus), **facts}}


def _joined(
    own: Mapping[str, Sequence[Record]], others: Mapping[str, Sequence[Record]]
) -> dict[str, Sequence[Record]]:
    return {split: [*records, *others.get(split, ())] for split, records in own.items()}


class _Workshop:
    """Draws and runs the scripts of one split after the other until each is full."""

    def __init__(
        self, config: BuildConfig, farm: Farm, journal: RunJournal, display: ProgressDisplay
    ) -> None:
        self._config = config
        self._farm = farm
        self._journal = journal
        self._display = display
        self._done = 0
        self._planned = sum(plan.num_scripts for plan in plans_of(config))
        self._owners: dict[str, str] = {}  # split of each skeleton and text

    def fill(self, plan: Plan) -> SplitResult:
        """Draw and run until the split has `plan.num_scripts` scripts, or so many were drawn."""
        result = SplitResult()
        groups = self._new_groups(plan, result)
        missing = plan.num_scripts
        while missing > 0:
            drawn = self._run(islice(groups, missing))
            if not drawn:
                raise MdxError(
                    f"the {plan.split} split has only {plan.num_scripts - missing} scripts to "
                    f"keep, not {plan.num_scripts}: ask for fewer, or hold out more"
                )
            num_kept = sum(self._judge(group, plan, result) for group in drawn)
            missing -= num_kept if self._config.held_out.exact else len(drawn)
        return result

    def _new_groups(self, plan: Plan, result: SplitResult) -> Iterator[Group]:
        """Yield groups that share neither a skeleton nor a text with a split drawn before.

        Repairs whose broken script could run for long are left out before anything is run.
        """
        drawn = draw_groups(
            split=plan.split,
            seed=self._config.seed,
            phrasings_per_script=plan.phrasings,
            families=plan.families,
            material_set=self._config.material_set,
            held_out=self._config.held_out.held_out,
        )
        for group in drawn:
            if any(map(may_take_long, group)):
                result.passed_over["broken script may take long"] += 1
                continue
            marks = {skeleton(group[0].script), *(example.task.prompt for example in group)}
            if any(self._owners.get(mark, plan.split) != plan.split for mark in marks):
                result.passed_over["also in another split"] += 1
                continue
            self._owners.update(dict.fromkeys(marks, plan.split))
            yield group

    def _run(self, groups: Iterable[Group]) -> list[Group]:
        """Run what the journal does not know, drawing while the farm works; return the groups."""
        drawn: list[Group] = []

        def missing_jobs() -> Iterator[Job]:
            asked: set[str] = set()
            for group in groups:
                drawn.append(group)
                jobs = [job for job in _jobs(group) if job.key not in asked]
                asked.update(job.key for job in jobs)
                jobs = [job for job in jobs if job.key not in self._journal.outcomes]
                if not jobs:
                    self._display.skip(1)
                    self._count(True)
                yield from jobs

        for outcome in run_jobs(missing_jobs(), self._farm, self._config.farm.limits):
            self._journal.add(outcome)
            self._count(outcome.is_reference)
        return drawn

    def _count(self, finished: bool) -> None:
        # those that replace dropped ones come on top of what was planned
        if finished and self._done < self._planned:
            self._done += 1
            self._display.update(self._done, {})

    def _judge(self, group: Group, plan: Plan, result: SplitResult) -> bool:
        """Add the group and what is kept of it to `result`; tell whether anything is."""
        outcomes = self._journal.outcomes
        cost_s = outcomes[_reference_job(group).key].facts.cost_s
        if plan.max_cost_s is not None and cost_s > plan.max_cost_s:
            result.passed_over["costs more than max_grpo_cost_s"] += 1
            return False
        result.groups.append(group)
        kept = keep([group], outcomes, self._config.min_reward, result.dropped)
        result.kept.extend(kept)
        return bool(kept)


def keep(
    groups: Sequence[Group],
    outcomes: Mapping[str, Outcome],
    min_reward: float,
    dropped: Counter[tuple[str, str]] | None = None,
) -> list[Kept]:
    """Return the examples whose reference solves their task, repairs with LAMMPS's real error.

    `dropped` counts the others by family and reason.
    """
    kept = []
    for group in groups:
        reference = outcomes[_reference_job(group).key]
        for example, reward in zip(group, reference.rewards, strict=True):
            broken = outcomes[_broken_job(example).key] if example.failed_script else None
            reason = _fault(reference, reward, broken, min_reward)
            if reason:
                if dropped is not None:
                    dropped[example.task.family, reason] += 1
                continue
            shown = replace(example, error=broken.error) if broken else example
            kept.append(Kept(example=shown, reward=reward, outcome=reference))
    return kept


def _fault(reference: Outcome, reward: float, broken: Outcome | None, min_reward: float) -> str:
    """Return why an example is dropped; empty if it is kept."""
    if reference.status != RunStatus.OK:
        return f"reference ends with {reference.status}"
    if reward < min_reward:
        return "reference below min_reward"
    if broken and depends_on_machine(broken.status):
        return "broken script crashes or exceeds a limit"
    if broken and broken.rewards[0] >= _PASSING:
        return "broken script solves the task"
    return ""


def _jobs(group: Group) -> list[Job]:
    """Return every job of a group once."""
    broken = [_broken_job(example) for example in group if example.failed_script]
    return list({job.key: job for job in (_reference_job(group), *broken)}.values())


def _reference_job(group: Group) -> Job:
    return Job(script=group[0].script, tasks=tuple(example.task for example in group))


def _broken_job(example: Example) -> Job:
    assert example.failed_script is not None
    return Job(script=example.failed_script, tasks=(example.task,), is_reference=False)


def _write_timings(file: Path, kept: Iterable[Kept]) -> None:
    """Write what was measured in seconds, one line an example: it differs between builds."""
    lines = (
        json.dumps(
            {
                "id": item.example.task.id,
                "wall_time_s": round(item.outcome.wall_time_s, 5),
                "cpu_time_s": round(item.outcome.cpu_time_s, 5),
                "cost_s": item.outcome.facts.cost_s,
            }
        )
        for item in kept
    )
    write_atomically(file, "".join(f"{line}\n" for line in lines))
