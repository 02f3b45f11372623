"""The configuration of one worker (configs/farm.yaml shows it with its defaults)."""

import os
from dataclasses import dataclass, field

from mdx.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class WorkerConfig:
    """What a worker serves, and how much it takes on.

    `listen` is `host:port` (port 0: any free one) or `unix:/path`.
    """

    listen: str = "127.0.0.1:50051"
    num_slots: int = 0  # 0: one for each core this process may use
    max_waiting: int = 1024  # requests in the queue; more are told to go elsewhere
    cache_bytes: int = 128 << 20  # of results kept to answer repeated requests; 0: none
    recycle_every: int = 5000  # jobs after which a slot's process is replaced
    drain_s: float = 60.0  # how long a stopping worker lets running scripts finish
    allow_unsandboxed: bool = False  # on loopback only, and every result says so
    without_layers: list[str] = field(default_factory=list)  # to try out what a host lacks

    def __post_init__(self) -> None:
        if self.num_slots < 0 or self.max_waiting < 1 or self.recycle_every < 1:
            raise ConfigError(
                "num_slots must be 0 or more, max_waiting and recycle_every 1 or more, not "
                f"{self.num_slots}, {self.max_waiting} and {self.recycle_every}"
            )

    @property
    def slots(self) -> int:
        """The number of slots, with the default filled in."""
        return self.num_slots or len(os.sched_getaffinity(0))
