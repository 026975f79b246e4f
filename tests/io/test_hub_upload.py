"""What is known of a repo before anything is sent; the rest is in tests/workflows/test_push.py."""

import hashlib
import subprocess

import pytest

from llmkit.errors import UserError
from llmkit.io.hub_upload import Repo, check_repo_id, has_content, log_in


@pytest.mark.parametrize("name", ["me/summarizer", "some-org/GPT-2.summarizer_v1"])
def test_names_of_repos_are_accepted(name):
    check_repo_id(name)


@pytest.mark.parametrize(
    "name", ["gpt2", "me/", "/x", "a/b/c", "me/my model", "me/a--b", "https://hf.co/me/x", "ü/x"]
)
def test_other_names_are_rejected_with_the_form(name):
    with pytest.raises(UserError, match="write USER/NAME"):
        check_repo_id(name)


def test_files_are_compared_by_the_hash_of_their_storage(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"some weights\n")
    git = subprocess.run(["git", "hash-object", path], capture_output=True, text=True, check=True)
    large = hashlib.sha256(b"some weights\n").hexdigest()
    repo = Repo(True, "0" * 40, {"small": git.stdout.strip(), "large": large})
    assert has_content(repo, "small", path)
    assert has_content(repo, "small", b"some weights\n")
    assert has_content(repo, "large", path)
    assert not has_content(repo, "missing", path)
    path.write_bytes(b"other weights\n")
    assert not has_content(repo, "small", path)
    assert not has_content(repo, "large", path)


def test_offline_there_is_no_upload():
    with pytest.raises(UserError, match="me/x: HF_HUB_OFFLINE is set; unset it to upload"):
        log_in("me/x")
