"""The configuration of MD-GRPO (`mdx-train grpo --print-config`)."""

from dataclasses import dataclass, field

from mdx.lammps.run import RunLimits
from mdx.model.config import ComputeConfig
from mdx.model.sharding import MeshConfig
from rollout_farm.client import Farm
from trainers.checkpoint import CheckpointConfig
from trainers.optim import OptimConfig
from trainers.policy_update import UpdateConfig
from trainers.recycle import RecycleConfig
from trainers.rollouts import RolloutConfig


@dataclass(frozen=True, kw_only=True)
class FarmConfig:
    """Where scripts run, and the limits of one run."""

    addresses: list[str] = field(default_factory=list)  # none: a worker of our own
    num_slots: int | None = None  # of our own worker; None: one a core
    patience_s: float = 60.0  # how long to wait for a worker while none answers
    cpu_time_s: float = 3.0  # what a run may cost; unlike wall time it is the same on a busy host
    wall_time_s: float = 30.0
    memory_mb: int = 1024
    log_bytes: int = 2048  # of each log's end

    def connect(self) -> Farm:
        """Return the farm, a context manager. Raises FarmError where no worker answers."""
        return Farm(self.addresses, num_slots=self.num_slots, patience_s=self.patience_s)

    @property
    def limits(self) -> RunLimits:
        """The limits of one run."""
        return RunLimits(
            wall_time_s=self.wall_time_s,
            cpu_time_s=self.cpu_time_s,
            memory_bytes=self.memory_mb << 20,
            log_bytes=self.log_bytes,
        )


@dataclass(frozen=True, kw_only=True)
class GrpoConfig:
    """A run of MD-GRPO. `optim.num_steps` counts steps of rollouts and updates together."""

    run_dir: str = "runs/grpo"
    init_from: str = "runs/sft/export"  # a Hugging Face directory with its tokenizer
    data_dir: str = "data"  # tasks: the training split of MD-CodeGen
    seed: int = 0
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    update: UpdateConfig = field(default_factory=UpdateConfig)
    recycle: RecycleConfig = field(default_factory=RecycleConfig)
    optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(
            num_steps=20, peak_lr=1e-4, warmup_steps=1, weight_decay=0.0
        )
    )
    mesh: MeshConfig = field(default_factory=MeshConfig)
    checkpoint: CheckpointConfig = field(default_factory=lambda: CheckpointConfig(save_every=5))
    farm: FarmConfig = field(default_factory=FarmConfig)
