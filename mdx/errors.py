"""The errors a user can meet, each of which is printed as one line and carries its exit code.

A failed LAMMPS script is never one of these: it is data (`mdx.lammps.run.RunStatus`). Raise
`MdxError` subclasses for what a user or the infrastructure can cause; `assert` for what only a
defect in MDX can.
"""


class MdxError(Exception):
    """A failure with a message made for people: what was required, what came, what to do."""

    exit_code = 1


class UsageError(MdxError):
    """The command was asked for something it cannot do: a wrong option, key, path or value."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration key or value is wrong; the message names the dotted key."""


class FarmError(MdxError):
    """The farm's infrastructure failed (unreachable worker, lost slot): no script is to blame."""


class CheckpointError(MdxError):
    """A checkpoint cannot be written or read back."""


class StoppedError(MdxError):
    """A run was told to stop (SIGTERM), saved its state and ended: nothing is wrong."""

    exit_code = 75  # EX_TEMPFAIL: a scheduler may start the same command again
