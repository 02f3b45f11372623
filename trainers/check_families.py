"""`mdx-data check-families`: run the references of task families and say what is wrong with them.

    mdx-data check-families --draws 8                   # all families
    mdx-data check-families nvt shear --draws 20        # these, while they are being written

Of each family so many simulations are drawn, each with one text; its reference runs on the farm and
is scored as any script is. A repair's broken script is run, too: it must not solve the task.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import click

from mdx.lammps.run import RunLimits, RunRequest, RunResult
from mdx.rewards import describe_failure, passed, score
from mdx.tasks.families import FAMILIES, choose_families
from mdx.tasks.generate import Example, draw_examples
from rollout_farm.client import Farm

KEPT_REWARD = 0.95
MAX_SHARE_BELOW = 0.2
MAX_CPU_S = 2.0


@dataclass(frozen=True, kw_only=True)
class FamilyReport:
    """What the references of one family came to."""

    name: str
    rewards: tuple[float, ...]
    cpu_s: tuple[float, ...]
    troubles: tuple[str, ...]  # one line for each reference that missed, with its script

    @property
    def share_below(self) -> float:
        """The share of references with R < 0.95, or whose broken script solves the task."""
        return len(self.troubles) / len(self.rewards)

    @property
    def is_sound(self) -> bool:
        """Whether at most a fifth misses and none is too expensive."""
        return self.share_below <= MAX_SHARE_BELOW and max(self.cpu_s) <= MAX_CPU_S


def check_families(
    farm: Farm, names: Sequence[str], draws: int, seed: int, material_set: str = "all"
) -> Iterator[FamilyReport]:
    """Yield the report of each family in listed order; raises UsageError for an unknown name."""
    for family in choose_families(names):
        bases = [f.name for f in FAMILIES if not f.repairs] if family.repairs else []
        examples = list(
            draw_examples(
                split="train",
                num_scripts=draws * (len(bases) + 1),
                seed=seed,
                families=[*bases, family.name],
                material_set=material_set,
            )
        )
        yield _report(family.name, [e for e in examples if e.task.family == family.name], farm)


def _report(name: str, examples: Sequence[Example], farm: Farm) -> FamilyReport:
    futures = [farm.submit(_request(e, e.script)) for e in examples]
    broken = {
        e.task.id: farm.submit(_request(e, e.failed_script)) for e in examples if e.failed_script
    }
    results = [future.result() for future in futures]
    troubles = []
    for example, result in zip(examples, results, strict=True):
        found = _trouble(example, result)
        if found is None and example.task.id in broken:
            failed = score(example.task, example.failed_script, broken[example.task.id].result())
            if passed(failed):
                found = f"the broken script solves the task (R = {failed.total:.3f})"
        if found is not None:
            troubles.append(
                f"{found}\n{example.task.prompt}\n{example.failed_script or example.script}"
            )
    return FamilyReport(
        name=name,
        rewards=tuple(result.reward.total for result in results if result.reward),
        cpu_s=tuple(result.timings.cpu_s for result in results),
        troubles=tuple(troubles),
    )


def _request(example: Example, script: str | None) -> RunRequest:
    return RunRequest(
        script=script or "",
        files=example.task.files,
        limits=RunLimits(),
        task=example.task,
        want_outputs=("*",),
    )


def _trouble(example: Example, result: RunResult) -> str | None:
    assert result.reward is not None
    if result.reward.total >= KEPT_REWARD:
        return None
    return f"R = {result.reward.total:.3f}: {describe_failure(result, result.reward)}"


@click.command(name="check-families")
@click.argument("names", nargs=-1, metavar="[FAMILY]...")
@click.option("--draws", default=8, show_default=True, help="Simulations of each family.")
@click.option("--seed", default=0, show_default=True)
@click.option("--slots", default=2, show_default=True, help="LAMMPS processes at once.")
@click.option("--verbose", is_flag=True, help="Print the texts and scripts of what missed.")
def check_families_command(
    names: tuple[str, ...], draws: int, seed: int, slots: int, verbose: bool
) -> None:
    """Run references of task families; exit 1 if any family is unsound."""
    unsound = []
    click.echo(f"{'family':24} {'R < 0.95':>9} {'lowest R':>9} {'mean CPU s':>11} {'max':>6}")
    with Farm(num_slots=slots) as farm:
        for report in check_families(farm, names, draws, seed):
            mean = sum(report.cpu_s) / len(report.cpu_s)
            click.echo(
                f"{report.name:24} {report.share_below:9.0%} {min(report.rewards):9.3f}"
                f" {mean:11.3f} {max(report.cpu_s):6.2f}"
            )
            if verbose:
                for trouble in report.troubles:
                    click.echo(trouble)
            if not report.is_sound:
                unsound.append(report.name)
    if unsound:
        raise click.ClickException(f"unsound: {', '.join(unsound)}; see --verbose")
