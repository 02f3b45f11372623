"""The configuration of one worker (configs/farm.yaml shows it with its defaults) and of a client.

Only data: `rollout_farm.security` reads the files that are named here.
"""

import os
from dataclasses import dataclass, field

from mdx.errors import ConfigError

# For a worker's process, before gRPC is imported: a call then wakes gRPC's own threads seven times
# less, and costs 0.1 to 0.2 ms CPU less. A gRPC that does not know the name ignores it.
WORKER_ENVIRONMENT = {"GRPC_EXPERIMENTS": "-event_engine_listener"}


@dataclass(frozen=True, kw_only=True)
class SecurityConfig:
    """Whom a worker answers. Paths of files; an empty one leaves that part out."""

    token_file: str = ""  # clients must show this token
    tls_cert: str = ""  # PEM, the worker's certificate and those that it needs to be believed
    tls_key: str = ""  # PEM
    tls_client_ca: str = ""  # PEM; clients must show a certificate that this authority signed


@dataclass(frozen=True, kw_only=True)
class ClientSecurity:
    """How a client shows who it is and whom it believes. Paths; an empty one leaves it out."""

    token_file: str = ""
    tls_ca: str = ""  # PEM; workers must show a certificate that this authority signed
    tls_cert: str = ""  # PEM, where workers want to see a certificate
    tls_key: str = ""  # PEM


@dataclass(frozen=True, kw_only=True)
class CacheConfig:
    """Which results a worker keeps to answer repeated requests."""

    memory_bytes: int = 128 << 20  # 0: none
    dir: str = ""  # a folder that outlives the worker
    disk_bytes: int = 1 << 30

    def __post_init__(self) -> None:
        if self.memory_bytes < 0 or self.disk_bytes < 0:
            raise ConfigError(
                "cache.memory_bytes and cache.disk_bytes must be 0 or more, not "
                f"{self.memory_bytes} and {self.disk_bytes}"
            )


@dataclass(frozen=True, kw_only=True)
class WorkerConfig:
    """What a worker serves, and how much it takes on.

    `listen` is `host:port` (port 0: any free one) or `unix:/path`.
    """

    listen: str = "127.0.0.1:50051"
    num_slots: int = 0  # 0: one for each core this process may use
    max_waiting: int = 1024  # requests in the queue; more are told to go elsewhere
    cache: CacheConfig = field(default_factory=CacheConfig)
    recycle_every: int = 5000  # jobs after which a slot's process is replaced
    canary_every: int = 500  # jobs after which a slot must run a known script right; 0: never
    drain_s: float = 60.0  # how long a stopping worker lets running scripts finish
    allow_unsandboxed: bool = False  # on loopback only, and every result says so
    without_layers: list[str] = field(default_factory=list)  # to try out what a host lacks
    security: SecurityConfig = field(default_factory=SecurityConfig)
    metrics_listen: str = ""  # host:port for Prometheus
    register_dir: str = ""  # folder in which clients with `dir:FOLDER` find this worker's address

    def __post_init__(self) -> None:
        if self.num_slots < 0 or self.max_waiting < 1 or self.recycle_every < 1:
            raise ConfigError(
                "num_slots must be 0 or more, max_waiting and recycle_every 1 or more, not "
                f"{self.num_slots}, {self.max_waiting} and {self.recycle_every}"
            )
        if self.canary_every < 0:
            raise ConfigError(f"canary_every must be 0 (never) or more, not {self.canary_every}")

    @property
    def slots(self) -> int:
        """The number of slots, with the default filled in."""
        return self.num_slots or len(os.sched_getaffinity(0))
