"""Which farm a command uses and what one run on it may cost."""

from dataclasses import dataclass, field

from mdx.lammps.run import RunLimits
from rollout_farm.client import Farm
from rollout_farm.config import ClientSecurity


@dataclass(frozen=True, kw_only=True)
class FarmConfig:
    """Where scripts run, and the limits of one run."""

    addresses: list[str] = field(default_factory=list)  # rollout_farm.addresses; none: our own
    security: ClientSecurity = field(default_factory=ClientSecurity)  # what the workers want
    num_slots: int | None = None  # of our own worker; None: one a core
    connect_timeout_s: float = 3.0  # how long to wait at the start for the first worker
    patience_s: float = 60.0  # how long to wait for a worker while none answers
    silence_s: float = 30.0  # after which a worker without a sign of life is gone
    cpu_time_s: float = 2.0  # what a run may cost; unlike wall time it is the same on a busy host
    wall_time_s: float = 30.0
    memory_mb: int = 1024
    log_bytes: int = 2048  # of each log's end

    def connect(self) -> Farm:
        """Return the farm, a context manager. Raises FarmError where no worker answers."""
        return Farm(
            self.addresses,
            security=self.security,
            num_slots=self.num_slots,
            connect_timeout_s=self.connect_timeout_s,
            patience_s=self.patience_s,
            silence_s=self.silence_s,
        )

    @property
    def limits(self) -> RunLimits:
        """The limits of one run."""
        return RunLimits(
            wall_time_s=self.wall_time_s,
            cpu_time_s=self.cpu_time_s,
            memory_bytes=self.memory_mb << 20,
            log_bytes=self.log_bytes,
        )
