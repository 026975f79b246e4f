"""A local stand-in for the Hugging Face hub, so that tests use the real client libraries.

Layout: ``root/models/[owner/]name/`` and ``root/datasets/owner/name/`` are repos at revision
``main``; a sibling folder ``name@<quoted revision>`` (``set@refs%2Fconvert%2Fparquet``) holds
another revision. An empty file ``.gated`` makes it gated. Commits are hashes of the contents, read
anew for each request, so changing a file is the same as pushing a commit.

    server = HubServer(root)
    with server as url:
        subprocess.run([...], env=server.env(hf_home))
    assert server.count("GET", "model.safetensors") == 1
"""

import hashlib
import json
import os
import re
import threading
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import parse_qs, quote, unquote, urlsplit

# Matched before unquoting: a quoted revision is one segment. The owner is optional and lazy, so
# that /api/models/gpt2/revision/main is about "gpt2", and not about "gpt2/revision".
_REPO = r"(?P<repo>[^/]+(?:/[^/]+)??)"
_TAIL = r"(?P<rev>[^/]+)(?:/(?P<path>.*))?"
_VERB = r"(?P<verb>revision|tree|paths-info|commits|discussions)"
_API = re.compile(rf"/api/(?P<kind>models|datasets)/{_REPO}(?:/{_VERB}(?:/{_TAIL})?)?")
_RESOLVE = re.compile(rf"/(?:(?P<kind>datasets)/)?{_REPO}/(?P<verb>resolve)/{_TAIL}")
_DATE = "2020-01-01T00:00:00.000Z"
Answer = tuple[int, dict[str, str], bytes]


class Request(NamedTuple):
    """One answered request."""

    method: str
    path: str  # unquoted, without the query
    status: int
    range: str | None


class HubError(Exception):
    """An answer other than success, with the headers from which clients choose an exception."""

    def __init__(self, status: int, code: str, message: str, commit: str = "") -> None:
        headers = {"X-Error-Code": code, "X-Error-Message": message}
        headers |= {"X-Repo-Commit": commit} if commit else {}  # so that clients can cache it
        self.answer: Answer = (status, headers, json.dumps({"error": message}).encode())


def _blob_oid(data: bytes) -> str:
    """The id git gives to a blob, which is also the hub's ETag for files outside LFS."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Repo:
    """One revision of one repo, read whole: test repos are small."""

    def __init__(self, repo_id: str, folder: Path) -> None:
        self.id = repo_id
        found = sorted(path for path in folder.rglob("*") if path.is_file())
        self.files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}
        self.gated = self.files.pop(".gated", None) is not None
        self.oids = {name: _blob_oid(data) for name, data in self.files.items()}
        self.sha = hashlib.sha1(json.dumps([repo_id, self.oids]).encode()).hexdigest()
        self.commit = {"id": self.sha, "title": "", "message": "", "date": _DATE, "authors": []}

    def info(self) -> dict:
        """The JSON object that ``model_info`` and ``dataset_info`` parse."""
        info = {"id": self.id, "sha": self.sha, "lastModified": _DATE, "createdAt": _DATE}
        info |= {"private": False, "gated": "manual" if self.gated else False, "tags": []}
        return info | {"siblings": [{"rfilename": name} for name in self.files]}

    def entry(self, path: str, expand: bool) -> dict | None:
        """A file or folder as tree listings describe it; None where there is neither."""
        if path in self.files:
            entry = {"type": "file", "oid": self.oids[path], "size": len(self.files[path])}
        elif any(name.startswith(f"{path}/") for name in self.files):
            entry = {"type": "directory", "oid": _blob_oid(path.encode()), "size": 0}
        else:
            return None
        return entry | {"path": path} | ({"lastCommit": self.commit} if expand else {})

    def tree(self, folder: str, recursive: bool, expand: bool) -> list[dict]:
        """The entries below a folder ("" is the top), nested ones only where asked."""
        prefix = f"{folder}/" if folder else ""
        below = [name[len(prefix) :] for name in self.files if name.startswith(prefix)]
        if folder and not below:
            raise HubError(404, "EntryNotFound", f"{folder} does not exist", self.sha)
        folders = {str(up) for name in below for up in PurePosixPath(name).parents} - {"."}
        kept = sorted(path for path in {*below, *folders} if recursive or "/" not in path)
        return [entry for path in kept if (entry := self.entry(prefix + path, expand))]

    def resolve(self, path: str, asked: Message) -> Answer:
        """A file, or the range asked for. Of a gated repo, only the files are out of reach."""
        if self.gated:
            status = 403 if "Authorization" in asked else 401
            raise HubError(status, "GatedRepo", f"Access to {self.id} is restricted.")
        if (data := self.files.get(path)) is None:
            raise HubError(404, "EntryNotFound", "Entry not found", self.sha)
        headers = {"ETag": f'"{self.oids[path]}"', "X-Repo-Commit": self.sha}
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", asked.get("Range", ""))
        if not span:
            return 200, headers, data
        first, end = int(span[1]), min(int(span[2] or len(data)) + 1, len(data))
        if first >= end:
            return 416, headers, b""
        headers["Content-Range"] = f"bytes {first}-{end - 1}/{len(data)}"
        return 206, headers, data[first:end]


class HubServer:
    """Serve ``root`` on an ephemeral local port for the length of a ``with`` block."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self.requests: list[Request] = []
        self.url = ""

    def __enter__(self) -> str:
        handler = type("Handler", (_Handler,), {"hub": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self.url

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def env(self, hf_home: Path | str, **extra: str) -> dict[str, str]:
        """An environment for a subprocess: clients read these variables when imported."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORMERS_"))}
        ours = {"HF_ENDPOINT": self.url, "HF_HOME": str(hf_home), "NO_PROXY": "127.0.0.1"}
        return kept | ours | extra

    def count(self, method: str, suffix: str) -> int:
        """Number of requests with this method and a path with this end."""
        return sum(r.method == method and r.path.endswith(suffix) for r in self.requests)

    def repo(self, kind: str, repo_id: str, revision: str = "main") -> Repo:
        """The repo at a branch, tag or commit. As on the hub, 401 may mean missing or private."""
        base = self.root / kind / repo_id
        named = base if revision == "main" else Path(f"{base}@{quote(revision, safe='')}")
        if ".." in repo_id or "@" in repo_id or not base.is_dir():
            raise HubError(401, "RepoNotFound", "Invalid username or password.")
        for folder in [base, *base.parent.glob(f"{base.name}@*")]:
            repo = Repo(repo_id, folder)
            if folder == named or repo.sha == revision:
                return repo
        raise HubError(404, "RevisionNotFound", f"Invalid rev id: {revision}")


class _Handler(BaseHTTPRequestHandler):
    """Speaks HTTP/1.0: no connection outlives its answer, so a stopped server answers nobody."""

    hub: HubServer

    def answer(self) -> None:
        target = urlsplit(self.path)
        try:
            status, headers, body = self.route(target.path, parse_qs(target.query))
        except HubError as error:
            status, headers, body = error.answer
        seen = Request(self.command, unquote(target.path), status, self.headers.get("Range"))
        self.hub.requests.append(seen)
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = answer

    def route(self, target: str, fields: dict[str, list[str]]) -> Answer:
        match = _API.fullmatch(target) or _RESOLVE.fullmatch(target)
        if not match:
            raise HubError(404, "NotFound", "Sorry, we can't find the page.")
        revision = unquote(match["rev"] or "main")
        repo = self.hub.repo(match["kind"] or "models", unquote(match["repo"]), revision)
        verb, path = match["verb"], unquote(match["path"] or "").rstrip("/")
        if verb == "resolve":
            return repo.resolve(path, self.headers)
        fields |= parse_qs(self.rfile.read(int(self.headers.get("Content-Length", 0))).decode())
        expand, recursive = (fields.get(k) == ["true"] for k in ("expand", "recursive"))
        if verb == "tree":
            found = repo.tree(path, recursive, expand)
        elif verb == "paths-info":
            found = [e for name in fields.get("paths", []) if (e := repo.entry(name, expand))]
        else:  # transformers seeks a conversion to safetensors in the discussions
            none = {"count": 0, "start": 0, "discussions": []}
            found = {"commits": [repo.commit], "discussions": none}.get(verb) or repo.info()
        return 200, {"Content-Type": "application/json"}, json.dumps(found).encode()

    def log_message(self, *_: object) -> None: ...  # ``HubServer.requests`` is the log
