"""Upload a model to the Hugging Face hub. Every failure becomes a UserError with advice."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    get_token,
    hf_hub_download,
)
from huggingface_hub import constants as hub_constants
from huggingface_hub import errors as hub_errors
from huggingface_hub.utils import validate_repo_id
from huggingface_hub.utils.sha import git_hash

from llmkit.errors import UserError, printable
from llmkit.io.hub_errors import causes, first_line, is_unreachable
from llmkit.paths import sha256

LOGIN = "set HF_TOKEN to a token with write access, or run `hf auth login`"
MAX_TEXT_BYTES = 2**20  # of a text file that is read


class Repo(NamedTuple):
    """A model repo on the hub."""

    is_private: bool
    commit: str
    """The newest one of its branch main."""
    hashes: dict[str, str]
    """Of each file: git's hash, or the SHA-256 of a file in large file storage."""


def check_repo_id(repo_id: str) -> None:
    """Raise UserError unless the name is of the form USER/NAME."""
    try:
        validate_repo_id(repo_id)
        if repo_id.count("/") == 1:
            return
    except hub_errors.HFValidationError:
        pass
    raise UserError(
        f"{printable(repo_id)}: not a name of a repo on the hub; write USER/NAME, with letters, "
        "digits, -, _ and ."
    )


def log_in(repo_id: str) -> str:
    """The user of the token that huggingface_hub finds."""
    if hub_constants.HF_HUB_OFFLINE:
        raise UserError(f"{repo_id}: HF_HUB_OFFLINE is set; unset it to upload")
    if get_token() is None:
        raise UserError(f"{repo_id}: there is no token for {hub_constants.ENDPOINT}; {LOGIN}")
    with _explained(repo_id):
        return HfApi().whoami()["name"]


def find_repo(repo_id: str) -> Repo | None:
    """The repo as it is now; None if there is none that the token can see."""
    with _explained(repo_id):
        try:
            info = HfApi().model_info(repo_id, files_metadata=True)
        except hub_errors.RepositoryNotFoundError:
            return None
    hashes = {
        each.rfilename: each.lfs.sha256 if each.lfs else each.blob_id for each in info.siblings
    }
    return Repo(info.private, info.sha, hashes)


def read_text(
    repo_id: str, name: str, *, repo_type: str = "model", revision: str | None = None
) -> str | None:
    """The text of a small file of a repo; None if there is no such file."""
    with _explained(repo_id), suppress(hub_errors.RemoteEntryNotFoundError):
        path = Path(hf_hub_download(repo_id, name, repo_type=repo_type, revision=revision))
        if path.stat().st_size <= MAX_TEXT_BYTES:
            return path.read_text("utf-8", errors="replace")
    return None


def has_content(repo: Repo, name: str, content: Path | bytes) -> bool:
    """Whether the repo holds the file with this content."""
    known = repo.hashes.get(name)
    if known is None:
        return False
    if isinstance(content, bytes):
        return known == git_hash(content)
    is_large = len(known) == 64  # SHA-256; git's hash has 40 digits
    return known == (sha256(content) if is_large else git_hash(content.read_bytes()))


def upload(
    repo_id: str,
    repo: Repo | None,
    files: Mapping[str, Path | bytes],
    *,
    deleted: tuple[str, ...] = (),
    is_private: bool = True,
    message: str,
) -> str:
    """Upload files as one commit; returns its id.

    What an interrupted upload has sent is not sent again.

    Args:
        repo: As `find_repo` returned it; the upload fails if it has changed since. None: create it.
        files: The content by its name in the repo.
        deleted: Names of files that the commit deletes.
        is_private: Whether a new repo is private.
    """
    api = HfApi()
    operations = [
        *(CommitOperationAdd(name, content) for name, content in files.items()),
        *(CommitOperationDelete(name, is_folder=False) for name in deleted),
    ]
    with _explained(repo_id):
        if repo is None:
            api.create_repo(repo_id, private=is_private)
        commit = api.create_commit(
            repo_id,
            operations,
            commit_message=message,
            parent_commit=repo.commit if repo else None,
        )
    return commit.oid


@contextmanager
def _explained(repo_id: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and error.filename:  # a local file
            raise
        raise UserError(f"{repo_id}: {_explain(error)}") from None


def _explain(error: Exception) -> str:
    """What went wrong and what to do, in one line."""
    endpoint = hub_constants.ENDPOINT
    answers = [cause for cause in causes(error) if isinstance(cause, hub_errors.HfHubHTTPError)]
    if not answers and is_unreachable(error):
        return f"{endpoint} cannot be reached; check the connection, and push again"
    if not answers:
        return printable(first_line(error))
    status = answers[-1].response.status_code
    said = printable(answers[-1].server_message or first_line(answers[-1]))
    if status == 401:
        source = "HF_TOKEN" if os.environ.get("HF_TOKEN") else "`hf auth login`"
        return f"{endpoint} does not accept the token of {source}; {LOGIN}"
    if status == 403:
        return f"the token may not write there ({said}); {LOGIN}"
    if status == 404:
        return f"not found at {endpoint} ({said}); check the name and the access of the token"
    if status == 412:
        return "the repo has changed in the meantime; push again"
    return f"{endpoint} answers {status}: {said}"
