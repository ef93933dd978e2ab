"""Which plan each step of a training on a device ran: on the disk before anything is sent.

A training asks for its steps in one order, so a step is known by its number. Its plan's key is
written down before the run is submitted, and the ledger writes the run before anything leaves:
whichever line a process dies at, the next one finds the run of a step, or nothing was sent for it.
"""

from __future__ import annotations

import fcntl
import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qhead.errors import CheckpointError

FORMAT = "qhead-steps-1"


class Journal:
    """The steps of one training, in a file that one process at a time may hold.

    Args:
        path: The file, made if absent; None keeps the steps in memory.

    Raises:
        CheckpointError: The file is of another kind, cannot be written, or another process has it.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.header: dict[str, Any] = {}
        self.plans: dict[int, list[str]] = {}
        self._file = None
        if path is None:
            return
        try:
            self._file = path.open("a+b")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.fstat(self._file.fileno()).st_nlink:
                raise BlockingIOError  # its holder removed it: nobody would find these steps again
            self._read()
        except BlockingIOError as error:
            self._release()
            raise CheckpointError(
                f"Another process carries on the training of {path}. Wait for it, or stop it."
            ) from error
        except OSError as error:
            self._release()
            raise self._refused(error) from error
        except CheckpointError:
            self._release()
            raise

    def begin(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the training was begun with, which is `facts` where it begins now."""
        if not self.header:
            begun = json.loads(json.dumps(dict(facts)))
            self.header = {"format": FORMAT, "training": uuid.uuid4().hex, "begun_with": begun}
        found: dict[str, Any] = self.header["begun_with"]
        return found

    @property
    def id(self) -> str:
        """Name of the training, unlike any other's."""
        return str(self.header["training"])

    @property
    def device(self) -> str | None:
        """Name of the device that it runs on; None before the first step."""
        return self.header["begun_with"]["device"] if self.header else None

    def note(self, step: int, plan: str) -> None:
        """Write down that a step is about to be submitted as a plan with this key."""
        first = [] if self.plans else [self.header]
        self.plans.setdefault(step, []).append(plan)
        self._write(*first, {"step": step, "plan": plan})

    def close(self) -> None:
        """Let another process go on; a file without any step is removed."""
        if self.path is not None and not self.plans:
            self.path.unlink(missing_ok=True)
        self._release()

    def _release(self) -> None:
        if self._file is not None:
            self._file.close()

    def _read(self) -> None:
        assert self._file is not None
        self._file.seek(0)
        data = self._file.read()
        whole = data[: data.rfind(b"\n") + 1]  # the last line may be torn: nothing followed it
        if len(whole) < len(data):
            self._file.truncate(len(whole))
        if not whole:
            return
        try:
            header, *steps = (json.loads(line) for line in whole.splitlines())
            if header["format"] != FORMAT or not header["begun_with"]["device"]:
                raise ValueError(header["format"])
            if steps:
                self.header = header
            else:  # torn behind its first line: nothing was sent
                self._file.truncate(0)
            for line in steps:
                self.plans.setdefault(int(line["step"]), []).append(str(line["plan"]))
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"{self.path} does not hold the steps of a training on a device. Name another "
                "checkpoint."
            ) from error

    def _write(self, *lines: dict[str, Any]) -> None:
        if self._file is None:
            return
        try:
            self._file.write(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._refused(error) from error

    def _refused(self, error: OSError) -> CheckpointError:
        return CheckpointError(
            f"The file {self.path} cannot be written ({error.strerror or error}). Give a "
            "checkpoint in an existing, writable folder with free space."
        )
