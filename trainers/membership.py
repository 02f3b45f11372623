"""Which of several processes this one is: the options of `mdx-train`, checked. Free of JAX."""

from dataclasses import dataclass

from mdx.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Membership:
    """Which process this is among how many; what is None comes from the cluster's environment."""

    coordinator: str | None = None  # host:port of process 0
    num_processes: int | None = None
    process_id: int | None = None
    connect_timeout_s: int = 300  # to wait for all processes at the start
    peer_timeout_s: int = 60  # without a sign of life, after which a process counts as dead

    def __post_init__(self) -> None:
        given = (self.coordinator, self.num_processes, self.process_id)
        if None in given and given != (None, None, None):
            raise UsageError(
                "--coordinator, --num-processes and --process-id belong together: give all three, "
                "or none on TPUs and under Slurm, where they are found"
            )
        if self.coordinator is not None and not self.coordinator.rpartition(":")[2].isdigit():
            raise UsageError(f"--coordinator must read HOST:PORT, not {self.coordinator!r}")
        if self.process_id is not None and not 0 <= self.process_id < (self.num_processes or 0):
            raise UsageError(
                f"--process-id must be 0 to {(self.num_processes or 0) - 1} for "
                f"--num-processes {self.num_processes}, not {self.process_id}"
            )
        if min(self.connect_timeout_s, self.peer_timeout_s) < 1:
            raise UsageError("--connect-timeout-s and --peer-timeout-s must be 1 or more")
