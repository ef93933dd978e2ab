"""Results of private jobs. The platform gives each once, so what has come is not let go here.

What was received is written to a file beside the ledger once it is decoded, or as it came where it
cannot be, and removed once the ledger has the result. So a ledger that is locked, a process that
ends from then on or an answer that this version cannot read lose nothing: the next collect, of any
process, takes up what was kept. A process that is killed while it downloads or decodes an answer
loses it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from hardware.devices.base import check_arrays
from hardware.errors import (
    BadResultError,
    DamagedResultError,
    LedgerError,
    RefusedError,
    ServiceError,
    VanishedError,
)
from hardware.folders import write_private
from hardware.ledger.database import digest, pack_arrays, unpack_arrays
from hardware.ledger.records import JobRecord
from hardware.runs.submission import Sender

Arrays = Mapping[str, np.ndarray]

#: Suffixes of what is kept: a result as the ledger stores it, and an answer that was not read.
_RESULT, _ANSWER = ".npz", ".answer"
_TEXT = ("utf-8", "surrogatepass")
#: What a platform says when it does not give a result (any more).
_DENIED = (BadResultError, RefusedError, VanishedError)
#: What is raised when something kept cannot be used.
_UNREADABLE = (BadResultError, DamagedResultError)
_PAID = "Resuming the run runs the job again, which is paid again"
_logger = logging.getLogger(__name__)


class KeptFiles:
    """What was received for private jobs and is not in the ledger yet, in a folder beside it.

    Args:
        ledger: The ledger's file.
    """

    def __init__(self, ledger: Path) -> None:
        self.folder = ledger.with_name(f"{ledger.name}.kept")

    def keep(self, job: JobRecord, body: bytes, suffix: str) -> None:
        """Write what was received for a job; a file that cannot be written is logged."""
        checksum = digest(body)
        path = self.folder / f"{_of_remote(job)}{checksum[:8]}{suffix}"
        try:
            write_private(path, checksum.encode() + b"\n" + body)
        except OSError as error:
            _logger.warning("Cannot keep the result of job %s in %s: %s", job.idx, path, error)

    def of(self, job: JobRecord) -> list[Path]:
        """Return the files of the job on the platform that counts, results first."""
        found = sorted(self._named(_of_remote(job)))
        return sorted(found, key=lambda path: path.suffix != _RESULT)

    def read(self, path: Path) -> bytes:
        """Return what was received.

        Raises:
            DamagedResultError: The file cannot be read, or is not as it was written.
        """
        try:
            checksum, _, body = path.read_bytes().partition(b"\n")
        except OSError as error:
            raise DamagedResultError(f"Cannot read {path}: {error}.") from error
        if digest(body).encode() != checksum:
            raise DamagedResultError(f"{path} is damaged.")
        return body

    def drop(self, job: JobRecord) -> None:
        """Remove all files of a job, which the ledger has the result of."""
        for path in self._named(f"{job.run_id}-{job.idx}-"):
            with suppress(OSError):
                path.unlink()

    def _named(self, prefix: str) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return [path for path in self.folder.iterdir() if path.name.startswith(prefix)]


def _of_remote(job: JobRecord) -> str:
    safe = re.sub(r"[^A-Za-z0-9_]", "_", job.remote_id or "")[:64]
    return f"{job.run_id}-{job.idx}-{safe}-"


class PrivateResults:
    """Fetches, keeps and stores the results of the private jobs of one run.

    Args:
        sender: Has ledger, device, requests and patience.
    """

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._results = sender.ledger.results
        self._device = sender.device
        self._kept = KeptFiles(sender.ledger.path)

    def bring_in(self, job: JobRecord, *, last: bool) -> bool | None:
        """Fetch the result of a job and store it; return whether the job has ended by that.

        Args:
            job: The job.
            last: Whether a result that is denied or cannot be read is given up as lost.

        Returns:
            None where another process is fetching it.

        Raises:
            ServiceError: It did not come, and may come at the next try.
            LedgerError: It came and is kept, and the ledger cannot be written.
        """
        sender = self._sender
        held = sender.ledger.leases.begin_fetch(job, sender.claimant, sender.policy.lease)
        if held is None:
            return None
        try:
            arrays = self._fetch(held)
        except _DENIED as error:
            kept = self._readable(held)  # received by a process that ended meanwhile
            if kept is None and last:
                return self._results.lose(held, self._why_lost(held, error))
            if kept is None:
                raise
            arrays = kept
        return self._finish(held, arrays)

    def _fetch(self, job: JobRecord) -> Arrays:
        assert job.remote_id is not None
        try:
            arrays = self._device.fetch(job.remote_id, self._sender.request(job.idx))
        except BaseException as error:
            received = getattr(error, "received", None)
            if isinstance(received, str) and received:
                self._kept.keep(job, received.encode(*_TEXT), _ANSWER)
            raise
        self._kept.keep(job, pack_arrays(arrays), _RESULT)
        return arrays

    def _why_lost(self, job: JobRecord, error: ServiceError) -> str:
        kept = self._kept.of(job)
        if not kept:
            return (
                f"the result of private job {job.remote_id} is lost: the platform gives it once, "
                f"and does not give it any more ({error}) {_PAID}"
            )
        why: Exception = error
        try:
            self._read(job, kept[0])
        except _UNREADABLE as unfit:
            why = unfit
        return (
            f"the platform gave the result of private job {job.remote_id}, which it gives once, "
            f"and it cannot be used. It is kept in {kept[0]} and read again whenever the run is "
            f"collected, by a later version too. {_PAID}. What is wrong with it: {why}"
        )

    def _finish(self, job: JobRecord, arrays: Arrays) -> bool:
        """Store a result with patience: another program may hold the ledger for a while."""
        sender = self._sender
        for left in reversed(range(sender.policy.tries)):
            try:
                ended = self._results.finish(job, arrays)
            except LedgerError as error:
                if left:
                    sender.clock.sleep(sender.policy.poll[0])
                    continue
                if kept := self._kept.of(job):
                    raise LedgerError(
                        f"{error} The result of private job {job.remote_id} has come and is kept "
                        f"in {kept[0]}: collect the run again to store it."
                    ) from error
                raise
            if sender.ledger.job(job.run_id, job.idx).state == "done":
                self._kept.drop(job)
            return ended
        raise AssertionError("A policy has one try or more.")

    def replace(self, job: JobRecord, why: str) -> None:
        """Fetch the result of a job that is done again; without it the job has failed.

        Args:
            job: The job.
            why: Why its stored result cannot be used.

        Raises:
            ServiceError: It did not come, and may come at the next try.
            LedgerError: The ledger cannot be written.
        """
        arrays = self._readable(job)
        tries = self._sender.policy.tries
        while arrays is None:
            tries -= 1
            try:
                arrays = self._fetch(job)
            except _DENIED as error:
                if tries <= 0:
                    reason = (
                        f"{why} It cannot be fetched again: {error} The job was private: the "
                        f"platform gives such a result once. {_PAID}."
                    )
                    self._results.lose(job, reason)
                    return
                self._sender.clock.sleep(self._sender.policy.poll[0])
        self._results.store_again(job, arrays)
        self._kept.drop(job)

    # --- what was kept --------------------------------------------------------------------------

    def take_kept(self) -> None:
        """Store the results that a process received and did not come to store.

        What still cannot be read stays where it is.

        Raises:
            LedgerError: The ledger cannot be written.
        """
        for job in self._sender.ledger.jobs(self._sender.run_id):
            if job.state != "done" and (arrays := self._readable(job)) is not None:
                self._finish(job, arrays)

    def _readable(self, job: JobRecord) -> Arrays | None:
        """Return the first kept result of a job that fits its request, None without one."""
        for path in self._kept.of(job) if job.remote_id is not None else ():
            try:
                return self._read(job, path)
            except _UNREADABLE as error:
                _logger.info("The kept result %s cannot be used: %s", path, error)
        return None

    def _read(self, job: JobRecord, path: Path) -> Arrays:
        body, request = self._kept.read(path), self._sender.request(job.idx)
        if path.suffix == _ANSWER:
            return self._device.decode(body.decode(*_TEXT), request)
        arrays = unpack_arrays(body, digest(body), str(path))
        check_arrays(arrays, request)
        return arrays
