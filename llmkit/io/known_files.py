"""Cache the checksums of large files."""

import hashlib
import json
import os
import time
from contextlib import suppress
from pathlib import Path

from llmkit.io.atomic import CorruptFolder, read_own_json, write_text
from llmkit.paths import cache_folder, sha256

MIN_BYTES = 2**25  # minimum size of a file whose checksum is cached
# A file that was modified within this time before it was read may change again without changing its
# time stamp.
SETTLED_NANOSECONDS = 2 * 10**9


def remembered_sha256(path: Path) -> str:
    """SHA-256 of a file. A large file is read again only if it may have changed.

    A file is considered unchanged if its device, inode, size, mtime and ctime are the same.
    Programs can set mtime to an earlier time, but doing so updates ctime.
    """
    state = _state_of(path)
    if state["bytes"] < MIN_BYTES:
        return sha256(path)
    name = hashlib.sha256(os.fsencode(os.path.abspath(path))).hexdigest()
    record = cache_folder() / "checksums" / f"{name}.json"
    with suppress(CorruptFolder):
        known = read_own_json(record)
        if known.get("state") == state and isinstance(known.get("sha256"), str):
            return known["sha256"]
    started = time.time_ns()
    digest = sha256(path)
    is_settled = started - max(state["mtime"], state["ctime"]) > SETTLED_NANOSECONDS
    if is_settled and _state_of(path) == state:
        with suppress(OSError):  # the cache may not be writable
            record.parent.mkdir(parents=True, exist_ok=True)
            content = {"path": os.path.abspath(path), "state": state, "sha256": digest}
            write_text(record, json.dumps(content))
    return digest


def _state_of(path: Path) -> dict[str, int]:
    status = path.stat()
    return {
        "device": status.st_dev,
        "inode": status.st_ino,
        "bytes": status.st_size,
        "mtime": status.st_mtime_ns,
        "ctime": status.st_ctime_ns,
    }
