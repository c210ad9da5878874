"""A small OpenAI-compatible endpoint that misbehaves on request."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, dict[str, Any] | str]  # status and body


def completion(content: str | None = "A", finish: str | None = "stop", **message: Any) -> dict[str, Any]:
    """Return the body of a good answer."""
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "stub",
        "choices": [
            {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content, **message}}
        ],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }


class Stub:
    """What the endpoint was asked, and how it answers: `answer` takes the request's body and how often it came."""

    def __init__(
        self, answer: Callable[[dict[str, Any], int], Reply], *, models: int = 200, pause: float = 0.0
    ) -> None:
        self.answer, self.models, self.pause = answer, models, pause
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.most = self._now = 0
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
            self._send(stub.models, {"object": "list", "data": []})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._send(*stub.reply(body, {name.lower(): value for name, value in self.headers.items()}))

        def _send(self, status: int, body: dict[str, Any] | str) -> None:
            content = (body if isinstance(body, str) else json.dumps(body)).encode()
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.send_header("retry-after-ms", "5")
                self.end_headers()
                self.wfile.write(content)
            except OSError:
                self.close_connection = True  # the client gave up waiting

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
