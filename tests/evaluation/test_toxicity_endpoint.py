"""The scorer ``http`` against a little server on the loopback."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from glm130b.errors import ConfigError
from glm130b.evaluation.toxicity import Endpoint, Score

Reply = tuple[int, Any, dict[str, str]]


class Server:
    """Answers with the replies it is given, the last one again and again; None keeps silent for a while."""

    def __init__(self, *replies: Reply | None) -> None:
        self.replies = list(replies)
        self.asked: list[Any] = []
        self.free = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                reply = outer.replies.pop(0) if len(outer.replies) > 1 else outer.replies[0]
                if reply is None:
                    outer.free.wait(5)
                    return
                status, body, headers = reply
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/score"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.free.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(*replies: Reply | None) -> Server:
        servers.append(Server(*replies))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def endpoint(server: Server, waits: list[float] | None = None, **options: Any) -> Endpoint:
    return Endpoint(server.url, sleep=(waits if waits is not None else []).append, **options)


def good(*values: Any, **more: Any) -> Reply:
    return 200, {"toxicity": list(values), **more}, {}


def test_scores_and_version_come_back(serve: Callable[..., Server]) -> None:
    server = serve(good(0.25, None, 1, version="7"))
    scores = endpoint(server).score(["a", "坏", "c"])
    assert server.asked == [{"texts": ["a", "坏", "c"]}]
    missing = Score(None, "the endpoint gave no score", "7")
    assert scores == [Score(0.25, "", "7"), missing, Score(1.0, "", "7")]


def test_what_may_pass_is_tried_again(serve: Callable[..., Server]) -> None:
    server, waits = serve((503, {}, {}), (429, {}, {"Retry-After": "9"}), (500, {}, {}), good(0.5)), list[float]()
    assert endpoint(server, waits).score(["a"]) == [Score(0.5)]
    assert waits == [1, 9, 4]
    assert len(server.asked) == 4


def test_retries_end(serve: Callable[..., Server]) -> None:
    server, waits = serve((503, {}, {"Retry-After": "86400"})), list[float]()
    assert endpoint(server, waits, retries=2).score(["a", "b"]) == [Score(None, "status 503")] * 2
    assert waits == [60, 60]
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ((404, {}, {}), "status 404"),
        ((200, b"<html>", {}), "the answer is not JSON"),
        ((200, b"\xff\xfe", {}), "the answer is not JSON"),
        ((200, [0.5], {}), "the answer holds no list toxicity of 1 numbers"),
        (good(0.5, 0.5), "the answer holds no list toxicity of 1 numbers"),
        (good("high"), "the endpoint gave no score"),
        (good(True), "the endpoint gave no score"),
    ],
)
def test_what_does_not_pass_is_missing_at_once(serve: Callable[..., Server], reply: Reply, reason: str) -> None:
    server, waits = serve(reply), list[float]()
    assert endpoint(server, waits).score(["a"]) == [Score(None, reason)]
    assert waits == []
    assert len(server.asked) == 1


def test_silence_and_broken_connections_are_missing(serve: Callable[..., Server]) -> None:
    server, waits = serve(None), list[float]()
    assert endpoint(server, waits, retries=1, timeout=0.1).score(["a"]) == [Score(None, "timed out")]
    assert waits == [1]
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    [score] = Endpoint(f"http://127.0.0.1:{port}/", retries=0).score(["a"])
    assert score.toxicity is None
    assert "refused" in score.error


def test_the_environment_names_no_proxy(serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1/")
    monkeypatch.delenv("no_proxy", raising=False)
    assert endpoint(serve(good(0.5))).score(["a"]) == [Score(0.5)]


@pytest.mark.parametrize("url", ["file:///etc/hostname", "localhost:80", "http://", ""])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(ConfigError, match="is no address"):
        Endpoint(url)
