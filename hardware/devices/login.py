"""Which account, instance and channel of the IBM Quantum platform to use. Light to import."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from hardware.errors import InvalidInputError, did_you_mean

#: Channels of the platform as its client names them; both lead to the same place today.
CHANNELS = ("ibm_quantum_platform", "ibm_cloud")


@dataclass(frozen=True)
class Account:
    """Which saved account to log in with, and which of its instances to use.

    Accounts are saved once, with their token, by ``QiskitRuntimeService.save_account``; a token is
    never an argument here. Without a name the client's own rules hold: if ``QISKIT_IBM_TOKEN`` is
    set, the account is that of the environment, with ``QISKIT_IBM_INSTANCE``,
    ``QISKIT_IBM_CHANNEL`` and ``QISKIT_IBM_URL``; otherwise it is the default saved account (of the
    channel, which ``QISKIT_IBM_CHANNEL`` may name). The client reads ``QISKIT_IBM_INSTANCE`` only
    beside a token. Fields given here go before the environment.

    Args:
        name: Name of the saved account.
        instance: CRN or name of the account's instance.
        channel: Channel of the account, ibm_quantum_platform or ibm_cloud.

    Raises:
        InvalidInputError: A field is empty, or there is no such channel.
    """

    name: str | None = None
    instance: str | None = field(default=None, repr=False)  # a CRN is not for logs
    channel: str | None = None

    def check_needed(self, target: str) -> None:
        """Refuse an account for a device that is reached without one.

        Args:
            target: The device's specification.

        Raises:
            InvalidInputError: It is no device of the platform, and a field is given.
        """
        given = [each.name for each in fields(self) if getattr(self, each.name) is not None]
        if given and target.partition(":")[0] != "ibm":
            names = ["account" if name == "name" else name for name in given]
            raise InvalidInputError(
                f"Expected {', '.join(map(repr, names))} with a device of the platform, ibm:NAME, "
                f"got {target}, which is reached without an account. Leave it out.",
                options=("account", "instance", "channel"),
            )

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if value is not None and not (isinstance(value, str) and value.strip().isprintable()):
                raise InvalidInputError(f"The account's {each.name} is not a printable text.")
            if value is not None and not value.strip():
                raise InvalidInputError(f"The account's {each.name} is empty: leave it out.")
        if self.channel is not None and self.channel not in CHANNELS:
            raise InvalidInputError(
                f"Expected a channel, {' or '.join(CHANNELS)}, got {self.channel!r}."
                f"{did_you_mean(self.channel, CHANNELS)}"
            )
