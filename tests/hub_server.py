"""A loopback server that speaks as much of the Hugging Face Hub's HTTP API as its client needs to push and pull models.

Written from the requests that huggingface_hub 2.4 makes. Large files take the client's default path, Xet, or git-LFS
where HF_HUB_DISABLE_XET=1. Xet's storage is hf_xet's own for its tests, a local folder: the real client cuts files into
chunks, uploads them there and puts them together again; this server only learns from its index what was uploaded.
"""

import base64
import hashlib
import json
import re
import socket
import tempfile
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
class Large:
    """A file that is not in git: its content is among the blobs or, uploaded by Xet, in Xet's storage."""

    sha256: str
    size: int
    xet: str | None = None  # its hash there


Files = dict[str, bytes | Large]


@dataclass
class Fault:
    """A failure of requests whose "METHOD path" matches `pattern`: with a status, else the connection is cut."""

    pattern: str
    status: int | None = None
    times: int = 1_000_000
    sent: int = 0  # bytes of the answer's body before the cut; of a request's body, half is read
    code: str = ""  # the Hub's own name of the error


class Hub:
    """The server's state: repositories, each a history of commits; and its faults."""

    def __init__(self, storage: Path) -> None:
        self.commits: dict[str, dict[str, Files]] = {}  # repo -> sha -> files
        self.refs: dict[str, dict[str, str]] = {}  # repo -> branch or tag -> sha
        self.private: set[str] = set()
        self.blobs: dict[str, bytes] = {}  # sha256 -> content of large files
        self.storage = storage  # Xet's
        self.faults: list[Fault] = []
        self.pause = 0.0  # seconds before each file is sent
        self.requests: list[str] = []
        self.url = ""

    def fail(
        self, pattern: str, status: int | None = None, times: int = 1_000_000, sent: int = 0, code: str = ""
    ) -> None:
        self.faults.append(Fault(pattern, status, times, sent, code))

    def fault(self, line: str) -> Fault | None:
        """The fault of this request, counted."""
        for fault in self.faults:
            if fault.times > 0 and re.search(fault.pattern, line):
                fault.times -= 1
                return fault
        return None

    def commit(self, repo: str, branch: str, changes: Files, gone: set[str] | None = None) -> str:
        before = {k: v for k, v in self.commits[repo][self.refs[repo][branch]].items() if k not in (gone or ())}
        files = before | changes
        sha = hashlib.sha1(f"{len(self.commits[repo])} {sorted(files)} {files}".encode()).hexdigest()
        self.commits[repo][sha] = files
        self.refs[repo][branch] = sha
        return sha

    def large(self, sha256: str, size: int) -> Large | None:
        """A file that was uploaded, by either way."""
        if sha256 in self.blobs:
            return Large(sha256, size)
        found = xet_hash(self.storage, sha256)
        return None if found is None else Large(sha256, size, found)

    def files(self, repo: str, revision: str) -> tuple[str, Files] | None:
        if repo not in self.commits:
            return None
        sha = self.refs[repo].get(revision, revision)
        found = self.commits[repo].get(sha)
        return None if found is None else (sha, found)


@contextmanager
def serve() -> Iterator[Hub]:
    with tempfile.TemporaryDirectory() as storage:
        hub = Hub(Path(storage))
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
        hub.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield hub
        finally:
            server.shutdown()
            server.server_close()


def xet_hash(storage: Path, sha256: str) -> str | None:
    """The hash under which Xet's storage has a file of this sha256, from the shards that its client uploaded.

    A shard lists files in records of 48 bytes: a header (hash, flags, number of entries), the entries, then for each flag
    more records; the one with metadata begins with the sha256. Hashes are stored as four little-endian 64-bit numbers.
    """
    wanted = swapped(bytes.fromhex(sha256))
    for shard in sorted(storage.glob("**/*.mdb")):
        content = shard.read_bytes()
        position = 48  # after the shard's own header
        while (header := content[position : position + 48]) and header[:32] != b"\xff" * 32:
            flags, entries = int.from_bytes(header[32:36], "little"), int.from_bytes(header[36:40], "little")
            has_verification, has_metadata = flags >> 31 & 1, flags >> 30 & 1
            metadata = position + 48 * (1 + entries + entries * has_verification)
            if has_metadata and content[metadata : metadata + 32] == wanted:
                return swapped(header[:32]).hex()
            position = metadata + 48 * has_metadata
    return None


def swapped(hash: bytes) -> bytes:
    """Four 64-bit numbers, little-endian <-> as they are written in hexadecimal."""
    return b"".join(hash[i : i + 8][::-1] for i in range(0, 32, 8))


class Handler(BaseHTTPRequestHandler):
    hub: Hub
    fault: Fault | None = None
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
        length = int(self.headers.get("Content-Length") or 0)
        self.fault = self.hub.fault(line)
        if self.fault is not None and self.fault.status is None and (length or not self.fault.sent):
            self.rfile.read(length // 2)
            return self.cut()
        body = self.rfile.read(length)
        if self.fault is not None and self.fault.status is not None:
            told = {"error": f"this server answers {self.fault.status}"}
            code = {"X-Error-Code": self.fault.code} if self.fault.code else {}
            return self.reply(self.fault.status, told, {"Retry-After": "0"} | code)
        for pattern, method in ROUTES:
            if (match := re.fullmatch(pattern, line)) is not None:
                return method(self, *match.groups(), body)
        return self.reply(404, {"error": f"no route for {line}"})

    def cut(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)

    def reply(self, status: int, content: Any = b"", headers: dict[str, str] | None = None) -> None:
        payload = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if "Content-Length" not in (headers or {}):
            self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.fault is not None and self.fault.status is None:
            self.wfile.write(payload[: self.fault.sent])
            return self.cut()
        self.wfile.write(payload)

    def allowed(self, repo: str | None = None, write: bool = False) -> bool:
        """Tell whether the request may go on; answers 401 if not, and for a private repository as if it were not there."""
        sent = self.headers.get("Authorization")
        if sent == f"Bearer {TOKEN}":
            return True
        if not write and repo not in self.hub.private:
            return True
        if sent is None:  # the client takes this for a missing repository: over https by the address, here by the code
            told = {"X-Error-Message": "Invalid username or password.", "X-Error-Code": "RepoNotFound"}
        else:
            told = {"X-Error-Message": "Invalid credentials in Authorization header"}
        self.reply(401, {"error": told["X-Error-Message"]}, told)
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
        gone: set[str] = set()
        for line in body.decode().splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "file":
                changes[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                large = self.hub.large(value["oid"], value["size"])
                if large is None:
                    return self.reply(422, {"error": f"{value['path']} was not uploaded"})
                changes[value["path"]] = large
            elif item["key"] == "deletedFile":
                gone.add(value["path"])
        sha = self.hub.commit(repo, branch, changes, gone)
        self.reply(200, {"success": True, "commitOid": sha, "commitUrl": f"{self.hub.url}/{repo}/commit/{sha}"})

    def tag(self, repo: str, revision: str, body: bytes) -> None:
        if not self.allowed(repo, write=True):
            return
        refs, name = self.hub.refs[repo], json.loads(body)["tag"]
        if name in refs:
            return self.reply(409, {"error": f"tag {name} exists"})
        refs[name] = refs.get(revision, revision)
        self.reply(200, {})

    def branch(self, repo: str, name: str, _body: bytes) -> None:
        if not self.allowed(repo, write=True):
            return
        if name in self.hub.refs[repo]:
            return self.reply(409, {"error": f"branch {name} exists"})
        self.hub.refs[repo][name] = self.hub.refs[repo]["main"]
        self.reply(200, {})

    def xet_token(self, repo: str, kind: str, _revision: str, _body: bytes) -> None:
        if self.allowed(repo, write=kind == "write"):
            info = {
                "X-Xet-Cas-Url": f"local://{self.hub.storage}",
                "X-Xet-Access-Token": "token",
                "X-Xet-Token-Expiration": str(int(time.time()) + 3600),
            }
            values = dict(zip(("casUrl", "accessToken", "exp"), info.values(), strict=True))
            self.reply(200, values | {"exp": int(values["exp"])}, info)

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
        if not self.allowed(repo):
            return
        found = self.hub.files(repo, revision)
        if found is None:
            return self.reply(404, {"error": "RevisionNotFound"}, {"X-Error-Code": "RevisionNotFound"})
        self.reply(200, [tree_entry(name, content) for name, content in found[1].items()])

    def resolve(self, repo: str, revision: str, name: str, _body: bytes) -> None:
        if not self.allowed(repo):
            return
        time.sleep(self.hub.pause)
        found = self.hub.files(repo, revision)
        if found is None or name not in found[1]:
            code = "RevisionNotFound" if found is None else "EntryNotFound"
            return self.reply(404, {"error": code}, {"X-Error-Code": code})
        sha, content = found[0], found[1][name]
        headers = {"X-Repo-Commit": sha, "Accept-Ranges": "bytes"}
        if isinstance(content, Large):
            headers |= {"X-Linked-Etag": f'"{content.sha256}"', "X-Linked-Size": str(content.size)}
            if content.xet is not None:
                route = f"{self.hub.url}/api/models/{repo}/xet-read-token/{sha}"
                headers |= {"X-Xet-Hash": content.xet, "X-Xet-Refresh-Route": route}
            content = self.hub.blobs.get(content.sha256, b"")
        headers["ETag"] = f'"{hashlib.sha1(content).hexdigest()}"'
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        headers["Content-Length"] = str(len(content) - start)
        self.reply(206 if start else 200, content[start:], headers)


def tree_entry(name: str, content: bytes | Large) -> dict[str, Any]:
    """A file in a listing."""
    if isinstance(content, bytes):
        return {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
    lfs = {"oid": content.sha256, "size": content.size, "pointerSize": 135}
    entry = {"type": "file", "path": name, "size": content.size, "oid": content.sha256[:40], "lfs": lfs}
    return entry if content.xet is None else entry | {"xetHash": content.xet}


ROUTES: list[tuple[str, Any]] = [
    (r"POST /api/repos/create", Handler.create),
    (r"POST /api/validate-yaml", lambda handler, _body: handler.reply(200, {"errors": [], "warnings": []})),
    (r"POST /api/models/([^/]+/[^/]+)/preupload/([^/]+)", Handler.preupload),
    (r"POST /([^/]+/[^/]+)\.git/info/lfs/objects/batch", Handler.lfs_batch),
    (r"PUT /blobs/(\w+)", Handler.put_blob),
    (r"POST /api/models/([^/]+/[^/]+)/commit/([^/]+)", Handler.do_commit),
    (r"POST /api/models/([^/]+/[^/]+)/tag/([^/]+)", Handler.tag),
    (r"POST /api/models/([^/]+/[^/]+)/branch/([^/]+)", Handler.branch),
    (r"GET /api/models/([^/]+/[^/]+)/xet-(read|write)-token/([^/]+)", Handler.xet_token),
    (r"GET /api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", Handler.info),
    (r"GET /api/models/([^/]+/[^/]+)/tree/([^/]+)", Handler.tree),
    (r"(?:GET|HEAD) /([^/]+/[^/]+)/resolve/([^/]+)/(.+)", Handler.resolve),
]
