"""The whole story on a small model: data, tokenizer, three stages, evaluation, the agent.

Each phase is the same code that its own command runs; this file only says what follows what:

    data        draw tasks, run every reference script on the farm, write the three data sets
    tokenizer   train SentencePiece on the training split
    base        export the untrained model, so that its evaluation shows where we start
    cpt         next-token prediction on MD-Knowledge
    sft         conversations: prompt -> script
    grpo        MD-GRPO: scripts are run, what really happened is the reward
    evaluate    every stage on the same held-out tasks
    agent       write, run, evaluate, repair

A phase that is finished is not repeated: after a kill the same command goes on, within a stage
from its last checkpoint. A run that is complete, or was started with another configuration, is
moved aside and a new one begins. `trainers.summary` writes the table at the end.

    mdx-train quickstart --config configs/quickstart.yaml
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import jax
from rich.console import Console

from agent import solve
from evals.cli import progress_bar
from evals.codegen import evaluate_codegen
from evals.report import CodegenConfig
from mdx.config import dump_config
from mdx.data.tasks import load_tasks, training_texts
from mdx.errors import ConfigError, UsageError
from mdx.model.config import ModelConfig
from mdx.model.decoder import init
from mdx.model.hf import save_hf
from mdx.tokenizer import Tokenizer, train_tokenizer
from trainers import build_data, cpt, grpo, sft
from trainers.build_config import BuildConfig
from trainers.cpt import CptConfig
from trainers.farm_config import FarmConfig
from trainers.grpo import GrpoConfig
from trainers.run_dir import EXPORT, write_atomically
from trainers.sft import SftConfig
from trainers.summary import STAGES, SUMMARY, write_summary

Stage = TypeVar("Stage", CptConfig, SftConfig)
_PHASES = "phases.json"
# What the quickstart sets in its stages, so that nobody else can in vain.
_DERIVED = ("run_dir", "out_dir", "init_from", "seed", "model", "farm")
_CLAIM = "quickstart.yaml"  # the configuration that started the run


@dataclass(frozen=True, kw_only=True)
class AgentConfig:
    """What the agent is asked to do at the end."""

    request: str = "NVT copper 3x3x3, 300 K, 600 steps, dt 0.002 ps"
    max_attempts: int = 4
    num_candidates: int = 4
    temperature: float = 0.7


@dataclass(frozen=True, kw_only=True)
class QuickstartConfig:
    """Every stage's configuration; the places they read and write are derived from `run_dir`."""

    run_dir: str = "runs/quickstart"
    seed: int = 0
    install_s: float = 0.0  # time that the installation took, for the summary
    num_eval_tasks: int = 200
    data: BuildConfig = field(default_factory=BuildConfig)
    model: ModelConfig = field(default_factory=ModelConfig)  # its vocab_size is the tokenizer's
    cpt: CptConfig = field(default_factory=CptConfig)
    sft: SftConfig = field(default_factory=SftConfig)
    grpo: GrpoConfig = field(default_factory=GrpoConfig)
    codegen: CodegenConfig = field(default_factory=CodegenConfig)
    agent: AgentConfig = field(default_factory=AgentConfig)
    farm: FarmConfig = field(default_factory=FarmConfig)  # of every phase

    def __post_init__(self) -> None:
        for stage, default in (
            ("data", BuildConfig()),
            ("cpt", CptConfig()),
            ("sft", SftConfig()),
            ("grpo", GrpoConfig()),
        ):
            for name in _DERIVED:
                given = getattr(getattr(self, stage), name, None)
                if given != getattr(default, name, None):
                    raise ConfigError(
                        f"{stage}.{name} is derived in the quickstart: leave it out and set "
                        "run_dir, seed, model or farm of the quickstart itself"
                    )

    def place(self, *names: str) -> str:
        """Return the path of something inside `run_dir`."""
        return os.path.join(self.run_dir, *names)

    def export_of(self, stage: str) -> str:
        """Return the Hugging Face directory of a stage."""
        return self.place(stage, EXPORT)


def run(config: QuickstartConfig) -> str:
    """Run every phase that is not finished, write the summary, return `run_dir`."""
    console = Console(stderr=True)
    claim(config)
    clock = PhaseClock(config.place(_PHASES), console)
    clock.install(config.install_s)
    clock.measure("data", lambda: build_data.run(_data_config(config)))
    clock.measure("tokenizer", lambda: _train_tokenizer(config))
    clock.measure("base", lambda: _export_untrained(config))
    clock.measure("cpt", lambda: cpt.run(_stage_config(config, "cpt", "base", config.cpt)))
    clock.measure("sft", lambda: sft.run(_stage_config(config, "sft", "cpt", config.sft)))
    clock.measure("grpo", lambda: grpo.run(_grpo_config(config)))
    for stage in STAGES:
        clock.measure(f"evaluate {stage}", partial(_evaluate, config, stage))
    clock.measure("agent", lambda: _ask_agent(config))
    summary = write_summary(config.run_dir, clock.seconds)
    console.print(summary, markup=False, highlight=False)
    return config.run_dir


class PhaseClock:
    """Runs phases once and remembers, on disk, which are finished and how long each took."""

    def __init__(self, path: str, console: Console) -> None:
        self._file = Path(path)
        self._console = console
        self.seconds: dict[str, float] = {}
        self._finished: set[str] = set()
        if self._file.is_file():
            stored = json.loads(self._file.read_text(encoding="utf-8"))
            self.seconds, self._finished = stored["seconds"], set(stored["finished"])

    def add(self, name: str, seconds: float) -> None:
        """Count `seconds` towards the phase `name`; interrupted attempts add up."""
        self.seconds[name] = round(self.seconds.get(name, 0.0) + seconds, 3)
        self._save()

    def install(self, seconds: float) -> None:
        """Record the installation's time; a repeated command finds nothing to install."""
        if "install" not in self._finished:
            self._finished.add("install")
            self.add("install", seconds)

    def measure(self, name: str, phase: Callable[[], object]) -> None:
        """Run `phase` unless it is finished, and count its wall time even if it is interrupted."""
        if name in self._finished:
            return
        self._console.rule(name, align="left")
        started = time.monotonic()
        try:
            phase()
            self._finished.add(name)
        finally:
            self.add(name, time.monotonic() - started)

    def _save(self) -> None:
        content = {"seconds": self.seconds, "finished": sorted(self._finished)}
        write_atomically(self._file, json.dumps(content, indent=2) + "\n")


def claim(config: QuickstartConfig) -> None:
    """Start `run_dir` afresh unless it holds an unfinished run of the same configuration.

    Only a folder that an earlier quickstart wrote is moved aside. Raises UsageError for others.
    """
    console = Console(stderr=True)
    directory = Path(config.run_dir).resolve()
    content = dump_config(replace(config, run_dir="", install_s=0.0))  # what is computed
    stored = directory / _CLAIM
    if directory.exists() and not directory.is_dir():
        raise UsageError(f"run_dir must be a folder, but {config.run_dir} is a file")
    if directory.is_dir() and any(directory.iterdir()):
        if not stored.is_file():
            raise UsageError(
                "run_dir must be new, empty or that of an earlier quickstart, but "
                f"{config.run_dir} holds other files: give another run_dir"
            )
        same = stored.read_text(encoding="utf-8") == content
        if same and not (directory / SUMMARY).is_file():
            console.print(f"going on with {config.run_dir}")
            return
        aside = next(p for p in _numbered(directory) if not p.exists())
        directory.rename(aside)
        console.print(f"{config.run_dir} held another run: it is now {aside}")
    directory.mkdir(parents=True, exist_ok=True)
    write_atomically(stored, content)


def _numbered(directory: Path) -> Iterator[Path]:
    return (directory.with_name(f"{directory.name}.{n}") for n in range(1, 1_000_000))


def _data_config(config: QuickstartConfig) -> BuildConfig:
    return replace(config.data, out_dir=config.place("data"), seed=config.seed, farm=config.farm)


def _stage_config(config: QuickstartConfig, stage: str, after: str, given: Stage) -> Stage:
    """Return the configuration of CPT or SFT with its places, starting from the stage `after`."""
    data = replace(
        given.data, data_dir=config.place("data"), tokenizer_dir=config.place("tokenizer")
    )
    return replace(
        given,
        run_dir=config.place(stage),
        init_from=config.export_of(after),
        data=data,
        seed=config.seed,
    )


def _grpo_config(config: QuickstartConfig) -> GrpoConfig:
    return replace(
        config.grpo,
        run_dir=config.place("grpo"),
        init_from=config.export_of("sft"),
        rollout=replace(config.grpo.rollout, data_dir=config.place("data")),
        seed=config.seed,
        farm=config.farm,
    )


def _train_tokenizer(config: QuickstartConfig) -> None:
    """Train on the training splits only: what is held out shapes nothing."""
    texts = training_texts(config.place("data"))
    train_tokenizer(texts, config.place("tokenizer"), config.model.vocab_size, config.seed)


def _export_untrained(config: QuickstartConfig) -> None:
    tokenizer = Tokenizer.load(config.place("tokenizer"))
    model = replace(config.model, vocab_size=tokenizer.vocab_size)
    _, params = init(model, key=jax.random.key(config.seed))
    save_hf(params, model, config.place("tokenizer"), config.export_of("base"))


def _evaluate(config: QuickstartConfig, stage: str) -> None:
    tasks = load_tasks(config.place("data"), "test")[: config.num_eval_tasks]
    codegen = replace(config.codegen, seed=config.seed)
    num_scripts = len(tasks) * codegen.num_samples
    with config.farm.connect() as farm, progress_bar(num_scripts) as on_done:
        evaluate_codegen(
            config.export_of(stage),
            tasks,
            farm,
            codegen,
            out_dir=config.place("eval", stage),
            on_done=on_done,
        )


def _ask_agent(config: QuickstartConfig) -> None:
    with config.farm.connect() as farm:
        solve(
            config.agent.request,
            model=config.export_of("grpo"),
            run_dir=config.place("agent"),
            farm=farm,
            max_attempts=config.agent.max_attempts,
            num_candidates=config.agent.num_candidates,
            temperature=config.agent.temperature,
            seed=config.seed,
        )
