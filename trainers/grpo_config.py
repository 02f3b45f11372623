"""The configuration of MD-GRPO (`mdx-train grpo --print-config`)."""

from dataclasses import dataclass, field

from mdx.model.config import ComputeConfig, LoraConfig
from mdx.model.sharding import MeshConfig
from trainers.checkpoint import CheckpointConfig
from trainers.farm_config import FarmConfig
from trainers.optim import OptimConfig
from trainers.policy_update import UpdateConfig
from trainers.recycle import RecycleConfig
from trainers.rollouts import RolloutConfig


@dataclass(frozen=True, kw_only=True)
class GrpoConfig:
    """A run of MD-GRPO. `optim.num_steps` counts steps of rollouts and updates together."""

    run_dir: str = "runs/grpo"
    init_from: str = "runs/sft/export"  # a Hugging Face directory with its tokenizer
    seed: int = 0
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    lora: LoraConfig = field(default_factory=LoraConfig)
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
