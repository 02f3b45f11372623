"""The command line options that say which farm to use, shared by every command that uses one.

    @farm_options
    def command(farm: FarmPlace) -> None:
        with farm.connect() as opened: ...

It imports neither gRPC nor the client: `--help` stays quick.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from rollout_farm.config import ClientSecurity

if TYPE_CHECKING:
    from rollout_farm.client import Farm

_Command = Callable[..., Any]
_SECURITY = (
    ("token_file", "The token that the workers want to see."),
    ("tls_ca", "PEM of the authority that signed the workers' certificates."),
    ("tls_cert", "PEM of a certificate to show to the workers."),
    ("tls_key", "PEM of that certificate's private key."),
)


@dataclass(frozen=True, kw_only=True)
class FarmPlace:
    """Where a farm is and how to be let in; no addresses: a worker on this machine."""

    addresses: tuple[str, ...] = ()
    security: ClientSecurity = field(default_factory=ClientSecurity)

    def connect(self, *, num_slots: int | None = None, allow_unsandboxed: bool = False) -> "Farm":
        """Return the farm, a context manager. Raises FarmError where no worker answers.

        The arguments are those of a worker on this machine.
        """
        from rollout_farm.client import Farm

        return Farm(
            self.addresses,
            security=self.security,
            num_slots=num_slots,
            allow_unsandboxed=allow_unsandboxed,
        )


def farm_options(command: _Command) -> _Command:
    """Give a command --farm and the options of security; it gets a `FarmPlace` as `farm`."""

    @security_options
    @functools.wraps(command)
    def with_place(*args: Any, addresses: tuple[str, ...], **others: Any) -> Any:
        security = others.pop("security")
        place = FarmPlace(addresses=addresses, security=security)
        return command(*args, farm=place, **others)

    return click.option(
        "--farm",
        "addresses",
        multiple=True,
        metavar="ADDRESS",
        help="Workers to use (repeatable): host:port, unix:/path, dns:///name:port or dir:/path; "
        "without it a worker is started here.",
    )(with_place)


def security_options(command: _Command) -> _Command:
    """Give a command the options of a client's security; it gets them as `security`."""

    @functools.wraps(command)
    def with_security(*args: Any, **others: Any) -> Any:
        values = {name: others.pop(f"farm_{name}") for name, _ in _SECURITY}
        return command(*args, security=ClientSecurity(**values), **others)

    decorated: _Command = with_security
    for name, text in reversed(_SECURITY):
        decorated = click.option(
            f"--farm-{name.replace('_', '-')}",
            default="",
            metavar="FILE",
            envvar=f"MDX_FARM_{name.upper()}",
            show_envvar=True,
            help=text,
        )(decorated)
    return decorated
