"""The accounts that the client has saved, or finds in the environment; no network calls."""

from __future__ import annotations

from qiskit_ibm_runtime.accounts import Account as ClientAccount
from qiskit_ibm_runtime.accounts import AccountManager

from hardware.devices.ibm.client import ask, guarded
from hardware.devices.login import Account
from hardware.errors import AccountError, HardwareError, NoAccountError, did_you_mean

#: Saves an account; for messages.
SAVE = "QiskitRuntimeService.save_account(token=…, instance=…)"


def is_crn(instance: str) -> bool:
    """Return whether an instance is given by its CRN and not by its name."""
    return instance.startswith("crn:")


def find_saved(account: Account) -> ClientAccount:
    """Return the account of the client's that a choice means, by the client's own rules.

    Raises:
        NoAccountError: None is saved.
        AccountError: None has this name, it belongs to another channel, or it cannot be read.
    """
    try:
        found = _read(account.name, account.channel)
    except NoAccountError:
        if account.name is None:
            raise
        raise AccountError(
            f"No account is saved as {account.name!r}.{_known(account.name)}"
        ) from None
    if account.channel is not None and found.channel != account.channel:
        named = "" if account.name is None else f" {account.name!r}"
        raise AccountError(
            f"The saved account{named} belongs to the channel {found.channel}, not to "
            f"{account.channel}: name another account or channel."
        )
    return found


def list_instances(account: Account) -> dict[str, str]:
    """Return the names of an account's instances by their CRN; asks the platform.

    Raises:
        AccountError, ServiceError: It cannot be asked.
    """
    with guarded():
        listed = ask(
            lambda: [(str(each["crn"]), str(each["name"])) for each in _instances(account)],
            120.0,
            "for the account's instances",
        )
    return dict(listed)


def _instances(account: Account) -> list[dict[str, str]]:
    return AccountManager.get(name=account.name, channel=account.channel).list_instances()


def _read(name: str | None, channel: str | None) -> ClientAccount:
    try:
        return ask(lambda: AccountManager.get(name=name, channel=channel), 60.0)
    except AccountError:
        raise
    except HardwareError as error:
        raise AccountError(
            f"The client's file of saved accounts cannot be read: {SAVE}."
        ) from error


def _known(name: str) -> str:
    """Return which accounts are saved; of the file only names are looked at."""
    try:
        names = sorted(ask(AccountManager.list, 60.0))
    except HardwareError:
        names = []
    if not names:
        return f" None is saved on this machine; in Python, {SAVE} does."
    return f" Saved are {', '.join(names)}.{did_you_mean(name, names)}"
