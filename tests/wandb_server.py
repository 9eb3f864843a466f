"""A loopback server with the part of W&B's API that an online run needs, written from the requests of wandb 0.31."""

import base64
import gzip
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Server:
    """A server's record: history rows, files by name, names of GraphQL operations; `dies_after` makes it fail."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.operations: list[str] = []
        self.summary: dict[str, Any] = {}
        self.aliases: list[str] = []  # of the artifact
        self.dies_after: str | None = None  # the GraphQL operation after which it answers nothing but 500
        self.url = ""


@contextmanager
def serve() -> Iterator[Server]:
    server = Server()
    http = Quiet(("127.0.0.1", 0), type("Bound", (Handler,), {"server_state": server}))
    server.url = f"http://127.0.0.1:{http.server_port}"
    threading.Thread(target=http.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()


class Quiet(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore errors: the client may close its connections at any time."""


class Handler(BaseHTTPRequestHandler):
    server_state: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        state = self.server_state
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        if state.dies_after in state.operations:
            return self.reply(500, {"error": "dead"})
        if self.path == "/graphql":
            return self.reply(200, {"data": self.graphql(json.loads(body))})
        if self.path.endswith("/file_stream"):
            self.stream(json.loads(body))
            return self.reply(200, {})
        if match := re.fullmatch(r"/upload/(.+)", self.path):
            state.files[match[1]] = body
            return self.reply(200, {})
        return self.reply(404, {"error": self.path})

    do_POST = do_PUT = do_GET  # noqa: N815 (names of the base class)

    def reply(self, status: int, content: Any) -> None:
        payload = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def stream(self, body: dict[str, Any]) -> None:
        for name, part in (body.get("files") or {}).items():
            if "history" in name:
                self.server_state.rows += map(json.loads, part["content"])
            elif "summary" in name:
                self.server_state.summary |= json.loads(part["content"][-1])

    def graphql(self, request: dict[str, Any]) -> dict[str, Any]:
        query, given = request["query"], request.get("variables") or {}
        found = re.search(r"(?:query|mutation)\s+(\w+)", query)
        name = found[1] if found else ""
        self.server_state.operations.append(name)
        entity = {"name": "me", "id": base64.b64encode(b"me").decode()}
        if name == "Viewer":
            return {
                "viewer": {
                    "id": "1",
                    "entity": "me",
                    "username": "me",
                    "email": "",
                    "flags": "{}",
                    "teams": {"edges": []},
                }
            }
        if name == "UpsertBucket":
            run = {"id": "1", "name": given.get("name"), "displayName": "run", "config": "{}", "sweepName": None}
            return {
                "upsertBucket": {
                    "bucket": run | {"project": {"name": "vae-augment", "entity": entity}, "historyLineCount": 0},
                    "inserted": True,
                }
            }
        if name == "CreateRunFiles":
            files = [{"name": file, "uploadUrl": f"{self.server_state.url}/upload/{file}"} for file in given["files"]]
            return {"createRunFiles": {"runID": "1", "uploadHeaders": [], "files": files}}
        return self.artifact(name, given)

    def artifact(self, name: str, given: dict[str, Any]) -> dict[str, Any]:
        """Answer the operations with which the client logs an artifact."""
        url = f"{self.server_state.url}/upload/"
        if name == "ArtifactType":
            return {"project": {"artifact": None}}
        if name == "CreateArtifact":
            self.server_state.aliases = [alias["alias"] for alias in given["input"]["aliases"]]
            made = {"id": "artifact", "state": "PENDING", "artifactSequence": {"id": "1", "latestArtifact": None}}
            return {"createArtifact": {"artifact": made}}
        if name == "CreateArtifactManifest":
            file = {
                "id": "1",
                "uploadUrl": url + "manifest",
                "uploadHeaders": [],
                "name": given.get("name"),
                "displayName": "",
            }
            return {"createArtifactManifest": {"artifactManifest": {"id": "1", "file": file}}}
        if name == "CreateArtifactFiles":
            edges = [
                {
                    "node": {
                        "id": str(i),
                        "name": spec["name"],
                        "displayName": spec["name"],
                        "uploadUrl": f"{url}artifact/{spec['name']}",
                        "uploadHeaders": [],
                        "uploadMultipartUrls": None,
                        "storagePath": "",
                        "artifact": {"id": "artifact"},
                    }
                }
                for i, spec in enumerate(
                    given["input"]["artifactFiles"] if "input" in given else given["artifactFiles"]
                )
            ]
            return {"createArtifactFiles": {"files": {"edges": edges}}}
        if name == "CommitArtifact":
            return {"commitArtifact": {"artifact": {"id": "artifact", "digest": ""}}}
        return {}
