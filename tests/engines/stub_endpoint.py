"""A small OpenAI-compatible endpoint that misbehaves on request."""

import json
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = dict[str, Any] | str | Iterable[bytes]  # JSON, text, or what is written piece by piece
Reply = tuple[int, Body] | tuple[int, Body, dict[str, str]]  # status, body, headers


def completion(content: object = "A", finish: str | None = "stop", **message: Any) -> dict[str, Any]:
    """Return the body of a good answer."""
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content, **message}}
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    head = {"id": "1", "object": "chat.completion", "created": 1, "model": "stub"}
    return head | {"choices": [choice], "usage": usage}


class Stub:
    """What the endpoint was asked, and how it answers: `answer` takes the request's body and how often it came."""

    def __init__(self, answer=lambda *_: (200, completion()), *, models=200, pause=0.0):
        self.answer, self.pause = answer, pause
        self.models = (models, {"object": "list", "data": []}) if isinstance(models, int) else models
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.most = self._now = self.sent = 0
        self._lock = threading.Lock()

    def reply(self, body: dict[str, Any], headers: dict[str, str]) -> Reply:
        with self._lock:
            self.asked.append(body)
            self.headers.append(headers)
            self._now += 1
            self.most = max(self.most, self._now)
            times = sum(each["messages"] == body["messages"] for each in self.asked)
        try:
            time.sleep(self.pause)
            return self.answer(body, times)
        finally:
            with self._lock:
                self._now -= 1


@contextmanager
def serving(stub: Stub) -> Iterator[str]:
    """Serve `stub` on the loopback interface; yield its base URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._send(*stub.models)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._send(*stub.reply(body, {name.lower(): value for name, value in self.headers.items()}))

        def _send(self, status: int, body: Body, headers: dict[str, str] = {}) -> None:  # noqa: B006
            text = json.dumps(body) if isinstance(body, dict) else body
            pieces = [text.encode("utf-8", "surrogatepass")] if isinstance(text, str) else text
            given = {"Content-Type": "application/json", "retry-after": "0.005", **headers}
            if isinstance(pieces, list):
                given["Content-Length"] = str(sum(map(len, pieces)))
            else:  # nobody knows how much; the end of the connection is its end
                self.close_connection = True
            with suppress(OSError):  # the client gave up
                self.send_response(status)
                for name, value in given.items():
                    self.send_header(name, value)
                self.end_headers()
                for piece in pieces:
                    self.wfile.write(piece)
                    stub.sent += len(piece)
                return
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
