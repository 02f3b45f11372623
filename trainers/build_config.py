"""What a build of the data sets makes: `mdx-data build --print-config`."""

from dataclasses import dataclass, field

from mdx.tasks.families import choose_families
from mdx.tasks.splits import HeldOut
from trainers.farm_config import FarmConfig


@dataclass(frozen=True, kw_only=True)
class HeldOutConfig:
    """What training never sees, and the splits that are made for it. Sizes of 0 make no split."""

    families: list[str] = field(default_factory=list)
    potentials: list[str] = field(default_factory=list)  # names of potential files
    pair_percent: int = 0  # of all pairs of a material and a family
    num_pair_scripts: int = 0  # split test_pair
    num_potential_scripts: int = 0  # split test_potential
    num_family_scripts: int = 0  # split test_family
    num_grpo_scripts: int = 0  # split grpo: prompts for MD-GRPO; 0: it takes the train split's
    max_grpo_cost_s: float = 0.3  # modelled CPU seconds of their reference scripts
    # draw more for each script that is dropped, so that the numbers count what is kept
    exact: bool = False

    @property
    def held_out(self) -> HeldOut:
        """The same for drawing."""
        return HeldOut(
            families=tuple(self.families),
            potentials=tuple(self.potentials),
            pair_percent=self.pair_percent,
            has_grpo=self.num_grpo_scripts > 0,
        )


@dataclass(frozen=True, kw_only=True)
class BuildConfig:
    """What to build. Numbers count scripts, before dropping unless `held_out.exact`."""

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
    held_out: HeldOutConfig = field(default_factory=HeldOutConfig)
    # Limits that no run comes near (references take less than 1.5 s of CPU): a run that is close to
    # one ends as the machine's speed has it, and the data would too.
    farm: FarmConfig = field(default_factory=lambda: FarmConfig(cpu_time_s=10.0, wall_time_s=120.0))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One split: how many scripts it holds, in how many texts each, and what they may cost."""

    split: str
    num_scripts: int
    phrasings: int = 1
    max_cost_s: float | None = None
    families: tuple[str, ...] = ()


def plans_of(config: BuildConfig) -> list[Plan]:
    """Return the splits that `config` asks for, in the order in which they are drawn.

    Prompts for MD-GRPO are no repairs: the policy's own failures are what it repairs.
    """
    chosen = tuple(config.families)
    prompts = tuple(f.name for f in choose_families(chosen) if f.phrasings)
    held_out = config.held_out
    plans = [
        Plan(
            split="train",
            num_scripts=config.num_train_scripts,
            phrasings=config.phrasings_per_script,
            families=chosen,
        ),
        Plan(
            split="grpo",
            num_scripts=held_out.num_grpo_scripts,
            max_cost_s=held_out.max_grpo_cost_s,
            families=prompts,
        ),
        Plan(split="validation", num_scripts=config.num_validation_scripts, families=chosen),
        Plan(
            split="test",
            num_scripts=config.num_test_scripts,
            families=prompts if held_out.exact else chosen,
        ),
        Plan(split="test_pair", num_scripts=held_out.num_pair_scripts, families=prompts),
        Plan(split="test_potential", num_scripts=held_out.num_potential_scripts, families=prompts),
        Plan(split="test_family", num_scripts=held_out.num_family_scripts, families=prompts),
    ]
    return [plan for plan in plans if plan.num_scripts > 0]
