"""Folders of the Hugging Face Hub: the local copy where there is one, else fetched once.

Only the files named by patterns are fetched, as data; nothing that a repository holds is executed.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from qhead.errors import InputError

# Local copies that this process has compared with the Hub's list of files, or has spoken of.
_checked: set[Path] = set()


class PartialCopyWarning(UserWarning):
    """A local copy of a repository of the Hub may lack files, and the Hub cannot be asked."""


def fetch_snapshot(
    repo: str,
    *,
    kind: str,
    revision: str | None,
    patterns: Sequence[str],
    complete: Callable[[Path], bool],
    error: type[InputError],
) -> Path:
    """Return the local folder of a repository of the Hub.

    A local copy is used at its own commit, without asking whether there is a newer one: the same
    command gives the same result tomorrow. Name a `revision` to have another. Once a process, the
    Hub is asked which files that commit has, and what is missing here is fetched.

    Args:
        repo: ``owner/name``.
        kind: ``model`` or ``dataset``.
        revision: Branch, tag or commit; None is the main branch.
        patterns: Files to fetch, as shell patterns.
        complete: Whether a folder holds what the caller needs.
        error: Raised when there is no copy and none can be fetched.

    Warns:
        PartialCopyWarning: The Hub cannot be asked whether the local copy has all files.
    """
    if repo.startswith((".", "/", "~")):
        raise error(
            f"{repo} does not exist. Check the path, or name a {kind} of the Hugging Face Hub "
            "(owner/name)."
        )
    # Imported here: only those who name something of the Hub wait for its client.
    from huggingface_hub import HfApi, errors, snapshot_download
    from huggingface_hub.utils import filter_repo_objects

    options = {"repo_type": kind, "revision": revision, "allow_patterns": list(patterns)}
    # The base classes include the HTTP library's own error, whichever the installed client uses.
    unreachable = (OSError, *errors.HfHubHTTPError.__bases__)
    try:
        local = None
        with contextlib.suppress(errors.LocalEntryNotFoundError):  # never fetched
            local = Path(snapshot_download(repo, local_files_only=True, **options))
        if local is not None and complete(local):
            if local in _checked:
                return local
            _checked.add(local)
            try:
                # The client names the folder by its commit.
                known = HfApi().repo_info(repo, repo_type=kind, revision=local.name).siblings
            except unreachable as reason:
                _warn_of_partial_copy(repo, local, patterns, type(reason).__name__)
                return local
            names = filter_repo_objects([f.rfilename for f in known or ()], allow_patterns=patterns)
            if all((local / name).exists() for name in names):
                return local
            options["revision"] = local.name
        return Path(snapshot_download(repo, **options))
    except errors.HFValidationError as reason:
        raise error(
            f"Expected the id of a {kind} of the Hub (owner/name), got {repo!r}."
        ) from reason
    except unreachable as reason:
        at = f" at revision {revision!r}" if revision else ""
        raise error(
            f"{repo!r} is not a file or folder on this machine, and fetching it as a {kind} from "
            f"the Hugging Face Hub{at} failed ({type(reason).__name__}). Check the spelling and "
            f"the network, or download the {kind} elsewhere and give its folder."
        ) from reason


def _warn_of_partial_copy(repo: str, local: Path, patterns: Sequence[str], reason: str) -> None:
    names = {path for pattern in patterns for path in local.rglob(pattern) if path.is_file()}
    shown = sorted(path.relative_to(local).as_posix() for path in names)
    warnings.warn(
        f"{repo}: the copy on this machine has {', '.join(shown[:8])}"
        f"{' …' if len(shown) > 8 else ''}. The Hub did not say whether the repository has "
        f"more ({reason}). Go online once, or give the folder of a complete copy.",
        PartialCopyWarning,
        stacklevel=4,
    )
