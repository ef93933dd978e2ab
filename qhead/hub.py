"""Folders of the Hugging Face Hub: the local copy where there is one, else fetched once.

Only the files named by patterns are fetched, as data; nothing that a repository holds is executed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from qhead.errors import InputError


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

    A complete local copy is used as it is, without asking the network whether there is a newer one:
    the same command gives the same result tomorrow. Name a `revision` to have another.

    Args:
        repo: ``owner/name``.
        kind: ``model`` or ``dataset``.
        revision: Branch, tag or commit; None is the main branch.
        patterns: Files to fetch, as shell patterns.
        complete: Whether a folder holds what the caller needs.
        error: Raised when there is no copy and none can be fetched.
    """
    # Imported here: only those who name something of the Hub wait for its client.
    from huggingface_hub import errors, snapshot_download

    options = {"repo_type": kind, "revision": revision, "allow_patterns": list(patterns)}
    # The base classes include the HTTP library's own error, whichever the installed client uses.
    unreachable = (OSError, *errors.HfHubHTTPError.__bases__)
    try:
        try:
            local = Path(snapshot_download(repo, local_files_only=True, **options))
            if complete(local):
                return local
        except errors.LocalEntryNotFoundError:
            pass  # never fetched
        return Path(snapshot_download(repo, **options))
    except errors.HFValidationError as reason:
        raise error(
            f"Expected the id of a {kind} of the Hub (owner/name), got {repo!r}."
        ) from reason
    except unreachable as reason:
        at = f" at revision {revision!r}" if revision else ""
        raise error(
            f"{repo!r} is no file or folder here, and as a {kind} of the Hugging Face Hub{at} it "
            f"could not be fetched ({type(reason).__name__}). Check the spelling and the network, "
            f"or download the {kind} elsewhere and give its folder."
        ) from reason
