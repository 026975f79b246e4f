"""A local stand-in for the Hugging Face hub, so that tests use the real client libraries.

Layout: ``root/models/[owner/]name/`` and ``root/datasets/owner/name/`` are repos at revision
``main``; a sibling folder ``name@<quoted revision>`` (``set@refs%2Fconvert%2Fparquet``) holds
another revision. An empty file ``.gated`` makes it gated, ``.private`` private. Commits are hashes
of the contents, read anew for each request, so changing a file is the same as pushing a commit.

The token ``hf_NAME`` is that of the user NAME, who may write to the repos NAME/... and see the
private ones; ``hf_NAME_read`` may not write. Large files arrive as with git LFS, not as with Xet,
which ``env`` turns off, and are kept in ``root/lfs/``.

    server = HubServer(root)
    with server as url:
        subprocess.run([...], env=server.env(hf_home))
    assert server.count("GET", "model.safetensors") == 1
"""

import base64
import hashlib
import json
import os
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import parse_qs, quote, unquote, urlsplit

# Matched before unquoting: a quoted revision is one segment. The owner is optional and lazy, so
# that /api/models/gpt2/revision/main is about "gpt2", and not about "gpt2/revision".
_REPO = r"(?P<repo>[^/]+(?:/[^/]+)??)"
_TAIL = r"(?P<rev>[^/]+)(?:/(?P<path>.*))?"
_VERB = r"(?P<verb>revision|tree|paths-info|commits|discussions|preupload|commit)"
_API = re.compile(rf"/api/(?P<kind>models|datasets)/{_REPO}(?:/{_VERB}(?:/{_TAIL})?)?")
_RESOLVE = re.compile(rf"/(?:(?P<kind>datasets)/)?{_REPO}/(?P<verb>resolve)/{_TAIL}")
_BATCH = re.compile(rf"/{_REPO}\.git/info/lfs/objects/batch")
_PART = re.compile(r"/lfs/(?P<oid>[0-9a-f]{64})")
_LARGE = (".safetensors", ".gguf", ".bin")  # files in large file storage
_JSON = {"Content-Type": "application/json"}
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
        self.private = self.files.pop(".private", None) is not None
        self.oids = {name: _blob_oid(data) for name, data in self.files.items()}
        self.sha = hashlib.sha1(json.dumps([repo_id, self.oids]).encode()).hexdigest()
        self.commit = {"id": self.sha, "title": "", "message": "", "date": _DATE, "authors": []}

    def info(self) -> dict:
        """The JSON object that ``model_info`` and ``dataset_info`` parse."""
        info = {"id": self.id, "sha": self.sha, "lastModified": _DATE, "createdAt": _DATE}
        gated = "manual" if self.gated else False
        info |= {"private": self.private, "gated": gated, "tags": []}
        return info | {"siblings": list(map(self.sibling, self.files))}

    def sibling(self, name: str) -> dict:
        """A file as the list of a repo describes it."""
        size = len(self.files[name])
        found = {"rfilename": name, "blobId": self.oids[name], "size": size}
        if not name.endswith(_LARGE):
            return found
        sha256 = hashlib.sha256(self.files[name]).hexdigest()
        return found | {"lfs": {"sha256": sha256, "size": size, "pointerSize": 130}}

    def upload_mode(self, path: str) -> dict:
        """How a client is to upload a file, and the hash of the one that is there."""
        is_large = path.endswith(_LARGE)
        answer = {"path": path, "uploadMode": "lfs" if is_large else "regular"}
        answer["shouldIgnore"] = False
        if path in self.files:
            sibling = self.sibling(path)
            answer["oid"] = sibling["lfs"]["sha256"] if is_large else sibling["blobId"]
        return answer

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
        self.on_upload: Callable[[], None] = lambda: None
        """Called when the content of a large file arrives, before it is kept."""
        self.last_repo = ""
        """A repo with whose first request the server stops: nobody answers later ones."""

    def __enter__(self) -> str:
        handler = type("Handler", (_Handler,), {"hub": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self.url

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def env(self, hf_home: Path | str, **extra: str) -> dict[str, str]:
        """An environment for a subprocess: clients read these variables when imported."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORMERS_"))}
        ours = {"HF_ENDPOINT": self.url, "HF_HOME": str(hf_home), "NO_PROXY": "127.0.0.1"}
        ours["HF_HUB_DISABLE_XET"] = "1"
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

    def create(self, user: str, asked: dict) -> Answer:
        """Create an empty repo of a user."""
        repo_id = f"{asked.get('organization') or user}/{asked['name']}"
        folder = self.folder_to_write(repo_id, user)
        if folder.is_dir():
            raise HubError(409, "Conflict", "You already created this model repo")
        folder.mkdir(parents=True)
        if asked.get("visibility") == "private" or asked.get("private"):
            (folder / ".private").touch()
        return 200, _JSON, json.dumps({"url": f"{self.url}/{repo_id}", "name": repo_id}).encode()

    def folder_to_write(self, repo_id: str, user: str | None) -> Path:
        if user is None or not repo_id.startswith(f"{user}/"):
            raise HubError(403, "Forbidden", f"You don't have the rights to write to {repo_id}")
        return self.root / "models" / repo_id

    def commit(self, repo: Repo, folder: Path, lines: list[dict]) -> Answer:
        """Apply the operations of a commit, all of which are checked first."""
        (header,) = (line["value"] for line in lines if line["key"] == "header")
        if header.get("parentCommit", repo.sha) != repo.sha:
            raise HubError(412, "PreconditionFailed", "A commit has happened since.")
        written = {}
        for line in lines:
            asked = line["value"]
            if line["key"] == "file":
                written[asked["path"]] = base64.b64decode(asked["content"])
            elif line["key"] == "lfsFile":
                written[asked["path"]] = (self.root / "lfs" / asked["oid"]).read_bytes()
        for name, content in written.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        for line in lines:
            if line["key"] == "deletedFile":
                (folder / line["value"]["path"]).unlink()
        commit = self.repo("models", repo.id).sha
        answer = {"commitOid": commit, "commitUrl": f"{self.url}/{repo.id}/commit/{commit}"}
        return 200, _JSON, json.dumps(answer).encode()

    def lfs_batch(self, asked: dict) -> Answer:
        """Where to send the content of large files that are not there yet."""
        objects = []
        for each in asked["objects"]:
            answer = {"oid": each["oid"], "size": each["size"]}
            if not (self.root / "lfs" / each["oid"]).is_file():
                answer["actions"] = {"upload": {"href": f"{self.url}/lfs/{each['oid']}"}}
            objects.append(answer)
        return 200, _JSON, json.dumps({"transfer": "basic", "objects": objects}).encode()

    def keep_part(self, oid: str, content: bytes) -> Answer:
        self.on_upload()
        assert hashlib.sha256(content).hexdigest() == oid
        (self.root / "lfs").mkdir(exist_ok=True)
        (self.root / "lfs" / oid).write_bytes(content)
        return 200, {}, b""


class _Handler(BaseHTTPRequestHandler):
    """Speaks HTTP/1.0: no connection outlives its answer, so a stopped server answers nobody."""

    hub: HubServer

    def handle(self) -> None:
        with suppress(ConnectionError):  # of a client that a test has stopped
            super().handle()

    def answer(self) -> None:
        target = urlsplit(self.path)
        try:
            status, headers, body = self.route(target.path, parse_qs(target.query))
        except HubError as error:
            status, headers, body = error.answer
        seen = Request(self.command, unquote(target.path), status, self.headers.get("Range"))
        self.hub.requests.append(seen)
        if self.hub.last_repo and self.hub.last_repo in seen.path:
            self.hub.stop()
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = answer

    def route(self, target: str, fields: dict[str, list[str]]) -> Answer:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if target == "/api/validate-yaml":
            return 200, _JSON, b"{}"
        if target == "/api/whoami-v2":
            return (
                200,
                _JSON,
                json.dumps({"type": "user", "name": self.user(), "orgs": []}).encode(),
            )
        if target == "/api/repos/create":
            return self.hub.create(self.writer(), json.loads(body))
        if _BATCH.fullmatch(target):
            return self.hub.lfs_batch(json.loads(body))
        if part := _PART.fullmatch(target):
            return self.hub.keep_part(part["oid"], body)
        match = _API.fullmatch(target) or _RESOLVE.fullmatch(target)
        if not match:
            raise HubError(404, "NotFound", "Sorry, we can't find the page.")
        revision = unquote(match["rev"] or "main")
        repo = self.hub.repo(match["kind"] or "models", unquote(match["repo"]), revision)
        if repo.private and not repo.id.startswith(f"{self.user()}/"):
            raise HubError(404, "RepoNotFound", "Repository not found")
        verb, path = match["verb"], unquote(match["path"] or "").rstrip("/")
        if verb == "resolve":
            return repo.resolve(path, self.headers)
        if verb in ("preupload", "commit"):
            folder = self.hub.folder_to_write(repo.id, self.writer())
            if verb == "commit":
                return self.hub.commit(repo, folder, [json.loads(x) for x in body.splitlines()])
            modes = [repo.upload_mode(each["path"]) for each in json.loads(body)["files"]]
            return 200, _JSON, json.dumps({"files": modes}).encode()
        fields |= parse_qs(body.decode())
        expand, recursive = (fields.get(k) == ["true"] for k in ("expand", "recursive"))
        if verb == "tree":
            found = repo.tree(path, recursive, expand)
        elif verb == "paths-info":
            found = [e for name in fields.get("paths", []) if (e := repo.entry(name, expand))]
        else:  # transformers seeks a conversion to safetensors in the discussions
            none = {"count": 0, "start": 0, "discussions": []}
            found = {"commits": [repo.commit], "discussions": none}.get(verb) or repo.info()
        return 200, _JSON, json.dumps(found).encode()

    def user(self) -> str:
        """The owner of the token."""
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if not token.startswith("hf_"):
            raise HubError(401, "", "Invalid credentials in Authorization header")
        return token.removeprefix("hf_").removesuffix("_read")

    def writer(self) -> str | None:
        """The owner of the token; None if it may only read."""
        user = self.user()
        return None if self.headers["Authorization"].endswith("_read") else user

    def log_message(self, *_: object) -> None: ...  # ``HubServer.requests`` is the log
