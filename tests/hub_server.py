"""A loopback server that speaks as much of the Hugging Face Hub's HTTP API as its client needs to push and pull models.

Written from the requests that huggingface_hub 2.4 makes. Large files take its default path, Xet, into a store on the disk
that is part of hf_xet itself, or with HF_HUB_DISABLE_XET=1 that of git-LFS.
"""

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

TOKEN = "hf_loopback"


@dataclass(frozen=True)
class InStore:
    """A large file whose bytes are in the Xet store, not here."""

    sha256: str
    size: int
    xet_hash: str


Files = dict[str, "bytes | InStore"]


class Hub:
    """What the server stores: repositories, each a history of commits; `fail` answers matching requests with an error."""

    def __init__(self) -> None:
        self.commits: dict[str, dict[str, Files]] = {}  # repo -> sha -> files
        self.refs: dict[str, dict[str, str]] = {}  # repo -> branch or tag -> sha
        self.private: set[str] = set()
        self.blobs: dict[str, bytes] = {}  # sha256 -> content of large files that came by git-LFS
        self.store: Path | None = None  # of Xet
        self.xet_hashes: dict[str, str] = {}  # sha256 -> what the store knows a file by
        self.cut: str | None = None  # pattern of "METHOD path" whose answer breaks off in the middle
        self.fail: tuple[str, int] | None = None  # (pattern of "METHOD path", status)
        self.fail_times: dict[str, list[int]] = {}  # pattern -> the errors that its first requests meet
        self.requests: list[str] = []
        self.url = ""

    def expect(self, folder: Path, store: Path) -> None:
        """Offer a Xet store for the files of this folder; their hashes are the client library's own."""
        import hf_xet

        self.store = store
        paths = [str(path) for path in folder.iterdir()]
        for path, info in zip(paths, hf_xet.hash_files(paths), strict=True):
            self.xet_hashes[hashlib.sha256(Path(path).read_bytes()).hexdigest()] = info.hash

    def commit(self, repo: str, branch: str, changes: Files) -> str:
        files = self.commits[repo][self.refs[repo][branch]] | changes
        sha = hashlib.sha1(f"{len(self.commits[repo])} {sorted(files)} {files}".encode()).hexdigest()
        self.commits[repo][sha] = files
        self.refs[repo][branch] = sha
        return sha

    def files(self, repo: str, revision: str) -> tuple[str, Files] | None:
        if repo not in self.commits:
            return None
        sha = self.refs[repo].get(revision, revision)
        found = self.commits[repo].get(sha)
        return None if found is None else (sha, found)


@contextmanager
def serve() -> Iterator[Hub]:
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer()

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815 (names of the base class)

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def answer(self) -> None:
        path = self.path.split("?")[0]
        line = f"{self.command} {path}"
        self.hub.requests.append(line)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.hub.fail is not None and re.search(self.hub.fail[0], line):
            return self.reply(self.hub.fail[1], {"error": f"this server answers {self.hub.fail[1]}"})
        for pattern, errors in self.hub.fail_times.items():
            if errors and re.search(pattern, line):
                return self.reply(errors.pop(0), {"error": "busy"}, {"Retry-After": "0"})
        for pattern, method in ROUTES:
            if (match := re.fullmatch(pattern, line)) is not None:
                return method(self, *match.groups(), body)
        return self.reply(404, {"error": f"no route for {line}"})

    def reply(self, status: int, content: Any = b"", headers: dict[str, str] | None = None) -> None:
        payload = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if "Content-Length" not in (headers or {}):
            self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(payload)

    def allowed(self, repo: str | None = None, write: bool = False) -> bool:
        """Whether the request may go on; answers 401 if not, and for a private repository as if it were not there."""
        if self.headers.get("Authorization") == f"Bearer {TOKEN}":
            return True
        if not write and repo not in self.hub.private:
            return True
        self.reply(401, {"error": "Invalid credentials"}, {"X-Error-Message": "Invalid credentials"})
        return False

    def create(self, body: bytes) -> None:
        if not self.allowed(write=True):
            return
        asked = json.loads(body)
        repo = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
        url = {"url": f"{self.hub.url}/{repo}", "id": repo, "name": repo}
        if repo in self.hub.commits:
            return self.reply(409, {"error": "exists"} | url)
        first = hashlib.sha1(repo.encode()).hexdigest()
        self.hub.commits[repo], self.hub.refs[repo] = {first: {}}, {"main": first}
        if asked.get("private") or asked.get("visibility") == "private":
            self.hub.private.add(repo)
        self.reply(200, url)

    def preupload(self, repo: str, _revision: str, body: bytes) -> None:
        if self.allowed(repo, write=True):
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith((".safetensors", ".png")) else "regular",
                    "shouldIgnore": False,
                    "oid": None,
                }
                for file in json.loads(body)["files"]
            ]
            self.reply(200, {"files": files})

    def lfs_batch(self, repo: str, body: bytes) -> None:
        if self.allowed(repo, write=True):
            objects = [
                {
                    "oid": item["oid"],
                    "size": item["size"],
                    "actions": {"upload": {"href": f"{self.hub.url}/blobs/{item['oid']}", "header": {}}},
                }
                for item in json.loads(body)["objects"]
            ]
            self.reply(200, {"transfer": "basic", "objects": objects})

    def put_blob(self, sha: str, body: bytes) -> None:
        if hashlib.sha256(body).hexdigest() != sha:
            return self.reply(422, {"error": "checksum"})
        self.hub.blobs[sha] = body
        self.reply(200)

    def do_commit(self, repo: str, branch: str, body: bytes) -> None:
        if not self.allowed(repo, write=True):
            return
        changes: Files = {}
        for line in body.decode().splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "file":
                changes[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                changes[value["path"]] = self.hub.blobs.get(value["oid"]) or InStore(
                    value["oid"], value["size"], self.hub.xet_hashes[value["oid"]]
                )
        sha = self.hub.commit(repo, branch, changes)
        self.reply(200, {"success": True, "commitOid": sha, "commitUrl": f"{self.hub.url}/{repo}/commit/{sha}"})

    def tag(self, repo: str, revision: str, body: bytes) -> None:
        if self.allowed(repo, write=True):
            self.hub.refs[repo][json.loads(body)["tag"]] = self.hub.refs[repo].get(revision, revision)
            self.reply(200, {})

    def info(self, repo: str, revision: str | None, _body: bytes) -> None:
        if not self.allowed(repo):
            return
        found = self.hub.files(repo, revision or "main")
        if found is None:
            code = "RepoNotFound" if repo not in self.hub.commits else "RevisionNotFound"
            return self.reply(404, {"error": code}, {"X-Error-Code": code})
        sha, files = found
        siblings = [{"rfilename": name} for name in files]
        self.reply(200, {"_id": sha, "id": repo, "sha": sha, "siblings": siblings, "private": repo in self.hub.private})

    def tree(self, repo: str, revision: str, _body: bytes) -> None:
        if self.allowed(repo):
            found = self.hub.files(repo, revision)
            self.reply(200, [_entry(name, content) for name, content in (found or ("", {}))[1].items()])

    def xet_token(self, repo: str, kind: str, _revision: str, _body: bytes) -> None:
        if self.hub.store is None:
            return self.reply(404, {"error": "no Xet here"})
        if self.allowed(repo, write=kind == "write"):
            url, token, end = f"local://{self.hub.store}", "any", int(time.time()) + 3600
            headers = {"X-Xet-Cas-Url": url, "X-Xet-Access-Token": token, "X-Xet-Token-Expiration": str(end)}
            self.reply(200, {"casUrl": url, "accessToken": token, "exp": end}, headers)

    def resolve(self, repo: str, revision: str, name: str, _body: bytes) -> None:
        if not self.allowed(repo):
            return
        found = self.hub.files(repo, revision)
        if found is None or name not in found[1]:
            code = "RevisionNotFound" if found is None else "EntryNotFound"
            return self.reply(404, {"error": code}, {"X-Error-Code": code})
        sha, content = found[0], found[1][name]
        if isinstance(content, InStore):
            return self.redirect_to_store(repo, sha, content)
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        headers = {"X-Repo-Commit": sha, "ETag": etag, "Content-Length": str(len(content)), "Accept-Ranges": "bytes"}
        if self.hub.cut is not None and re.search(self.hub.cut, f"{self.command} {self.path}"):
            content = content[: len(content) // 2]
            self.close_connection = True
        self.reply(200, content, headers)

    def redirect_to_store(self, repo: str, sha: str, file: InStore) -> None:
        if self.command == "GET":
            return self.reply(500, {"error": "the bytes are in the store"})
        token = f"{self.hub.url}/api/models/{repo}/xet-read-token/{sha}"
        headers = {"X-Repo-Commit": sha, "ETag": f'"{file.sha256}"', "X-Linked-Etag": f'"{file.sha256}"'}
        headers |= {"X-Linked-Size": str(file.size), "X-Xet-Hash": file.xet_hash, "Content-Length": str(file.size)}
        self.reply(200, b"", headers | {"Link": f'<{token}>; rel="xet-auth"'})


def _entry(path: str, content: "bytes | InStore") -> dict[str, Any]:
    if isinstance(content, bytes):
        return {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
    lfs = {"oid": content.sha256, "size": content.size, "pointerSize": 130}
    return {
        "type": "file",
        "path": path,
        "size": content.size,
        "oid": content.sha256[:40],
        "lfs": lfs,
        "xetHash": content.xet_hash,
    }


ROUTES: list[tuple[str, Any]] = [
    (r"POST /api/repos/create", Handler.create),
    (r"POST /api/validate-yaml", lambda handler, _body: handler.reply(200, {"errors": [], "warnings": []})),
    (r"POST /api/models/([^/]+/[^/]+)/preupload/([^/]+)", Handler.preupload),
    (r"POST /([^/]+/[^/]+)\.git/info/lfs/objects/batch", Handler.lfs_batch),
    (r"PUT /blobs/(\w+)", Handler.put_blob),
    (r"GET /api/models/([^/]+/[^/]+)/xet-(read|write)-token/([^/]+)", Handler.xet_token),
    (r"POST /api/models/([^/]+/[^/]+)/commit/([^/]+)", Handler.do_commit),
    (r"POST /api/models/([^/]+/[^/]+)/tag/([^/]+)", Handler.tag),
    (r"GET /api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", Handler.info),
    (r"GET /api/models/([^/]+/[^/]+)/tree/([^/]+)", Handler.tree),
    (r"(?:GET|HEAD) /([^/]+/[^/]+)/resolve/([^/]+)/(.+)", Handler.resolve),
]
