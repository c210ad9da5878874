"""A hub on the loopback interface that serves the files of a folder to the real clients, and nothing else.

The folder holds ``models/OWNER/NAME/...`` and ``datasets/OWNER/NAME/...``. A repository has the commit of `commit`, and
answers for any other 40 digits as well: those that the library pins are commits of the real ones.
"""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

API = re.compile(
    r"/api/(?P<kind>models|datasets)/(?P<id>[^/]+/[^/]+)(?:/(?P<what>revision|tree|paths-info)/(?P<rest>.+))?"
)
FILE = re.compile(r"/(?P<kind>datasets/)?(?P<id>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
SHA = re.compile(r"[0-9a-f]{40}")


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # clients open many connections at once


def commit(repository: str) -> str:
    """Return the newest commit of a repository (``models/OWNER/NAME``)."""
    return hashlib.sha1(repository.encode()).hexdigest()


@contextmanager
def serving(folder: Path, fetched: list[str]) -> Iterator[str]:
    """Serve the repositories under `folder`; yield the address, and note in `fetched` every file that is fetched."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer()

        def do_HEAD(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers["Content-Length"])).decode())

        def _answer(self, body: str = "") -> None:
            address = urlsplit(self.path)
            if file := FILE.fullmatch(unquote(address.path)):
                self._file(file)
            elif asked := API.fullmatch(unquote(address.path)):
                self._listing(asked, parse_qs(address.query), body)
            else:
                self._send(404, b"{}")

        def _file(self, file: re.Match[str]) -> None:
            repository = f"{file['kind'] or 'models/'}{file['id']}"
            path = folder / repository / file["path"]
            if not path.is_file():
                self._missing(repository, "EntryNotFound")
                return
            content = path.read_bytes()
            headers = {"ETag": f'"{_blob(path)}"', "X-Repo-Commit": _at(repository, file["revision"])}
            headers["Accept-Ranges"] = "bytes"
            if self.command == "GET":
                fetched.append(f"{repository}/{file['path']}")
            first, _, last = self.headers.get("Range", "").removeprefix("bytes=").partition("-")
            if not first or int(first) >= len(content):
                self._send(200, content, headers)
                return
            part = content[int(first) : int(last) + 1 if last else None]
            headers["Content-Range"] = f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}"
            self._send(206, part, headers)

        def _listing(self, asked: re.Match[str], query: dict[str, list[str]], body: str) -> None:
            repository = f"{asked['kind']}/{asked['id']}"
            place = folder / repository
            revision, _, path = (asked["rest"] or "main").partition("/")
            if not place.is_dir():
                self._missing(repository, "RepoNotFound")
            elif asked["what"] == "tree" and not (place / path).is_dir():
                self._missing(repository, "EntryNotFound")
            elif asked["what"] == "tree":
                whole = query.get("recursive", ["False"])[0].lower() in ("true", "1")
                found = sorted((place / path).rglob("*") if whole else (place / path).iterdir())
                self._json([_entry(one, place) for one in found])
            elif asked["what"] == "paths-info":
                wanted = json.loads(body)["paths"] if body.startswith("{") else parse_qs(body).get("paths", [])
                self._json([_entry(place / one, place) for one in wanted if (place / one).exists()])
            else:
                files = [one for one in sorted(place.rglob("*")) if one.is_file()]
                about = {"_id": "0", "id": asked["id"], "sha": _at(repository, revision), "tags": [], "private": False}
                siblings = [{"rfilename": one.relative_to(place).as_posix()} for one in files]
                self._json(about | {"gated": False, "siblings": siblings})

        def _missing(self, repository: str, code: str) -> None:
            self._send(404, b"{}", {"X-Error-Code": code, "X-Error-Message": f"{repository}: not here"})

        def _json(self, value: Any) -> None:
            self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

        def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
            try:
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)
            except OSError:
                self.close_connection = True  # the client has gone

        def log_message(self, *_: object) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def _at(repository: str, revision: str) -> str:
    return revision if SHA.fullmatch(revision) else commit(repository)


def _blob(path: Path) -> str:
    """Return a name for the content of a file; it never changes while the hub is up."""
    return hashlib.sha1(str(path).encode()).hexdigest()


def _entry(path: Path, place: Path) -> dict[str, Any]:
    name = path.relative_to(place).as_posix()
    if path.is_dir():
        return {"type": "directory", "path": name, "oid": _blob(path)}
    return {"type": "file", "path": name, "oid": _blob(path), "size": path.stat().st_size}
