"""Servers on this machine that tests read from: a web server with faults, and one that speaks S3."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# Seconds that a request waits for others to come.
_LONGEST_S = 20.0


class Web:
    """A web server.

    What `files` has by path is served; before that, each path's `faults` are, one a request: a number is
    a status; ``"reset"`` breaks the connection in mid-file; ``"short"`` sends half of it and closes;
    ``"hangs"`` sends nothing; ``"drips"`` a byte at a time; ``"endless"`` for ever, without a length;
    ``"longer"`` claims more than there is; ``"whole"`` knows no parts; ``"sizeless"`` does not say of
    how much its parts are; ``"gzip"`` says it is compressed; another text is a place that it is
    redirected to.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[Any]] = {}
        self.headers: dict[str, dict[str, str]] = {}
        # What was asked for: path and range, in order.
        self.asked: list[tuple[str, str]] = []
        # Nothing is answered before so many requests are under way at a time, once; or for a while.
        self.least, self.opened = 0, threading.Event()
        self._now = 0
        self._counting = threading.Lock()
        self.ends = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._server.request_queue_size = 256
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it."""
        self.ends.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """Count a request under way."""
        with self._counting:
            self._now += 1
            if self._now >= self.least:
                self.opened.set()
        try:
            yield
        finally:
            with self._counting:
                self._now -= 1


def _handler(web: Web) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None: ...

        def handle(self) -> None:
            # Whoever asked may have gone.
            with contextlib.suppress(OSError):
                super().handle()

        def do_GET(self) -> None:
            with web.counted():
                self._serve()

        def _serve(self) -> None:
            path = self.path.partition("?")[0]
            asked = self.headers.get("Range", "")
            web.asked.append((self.path, asked))
            faults = web.faults.get(path, [])
            fault = faults.pop(0) if faults else None
            web.opened.wait(_LONGEST_S)
            if isinstance(fault, int):
                self._head(fault, 0, web.headers.get(path, {}))
            elif path not in web.files:
                self._head(404, 0)
            elif isinstance(fault, str) and "/" in fault:
                self._head(302, 0, {"Location": fault})
            else:
                self._send(web.files[path], asked, fault, web.headers.get(path, {}))

        def _send(self, data: bytes, asked: str, fault: str | None, more: dict[str, str]) -> None:
            start, stop, status = 0, len(data), 200
            headers = {"ETag": f'"{hash(data)}"', **more}
            if asked and fault != "whole":
                first, _, last = asked.removeprefix("bytes=").partition("-")
                start, stop = int(first), min(int(last) + 1, stop) if last else stop
                if start >= len(data):
                    self._head(416, 0)
                    return
                status = 206
                size = "*" if fault == "sizeless" else len(data)
                headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
            part = data[start:stop]
            if fault == "gzip":
                headers["Content-Encoding"] = "gzip"
            if fault == "endless":
                headers["Transfer-Encoding"] = "chunked"
            self._head(status, len(part) + 50 * (fault == "longer"), headers)
            if fault == "reset":
                self.wfile.write(part[: len(part) // 2])
                self.wfile.flush()
                time.sleep(0.05)  # what has not been read yet would be lost with the rest
                with socket.socket(fileno=self.connection.detach()) as broken:
                    broken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
            elif fault in ("short", "longer"):
                self.wfile.write(part[: len(part) // 2] if fault == "short" else part)
                self.close_connection = True
            elif fault == "hangs":
                web.ends.wait(30)
                self.close_connection = True
            elif fault == "drips":
                for byte in part:
                    self.wfile.write(bytes([byte]))
                    if web.ends.wait(0.05):
                        return
            elif fault == "endless":
                while not web.ends.is_set():
                    self.wfile.write(b"10000\r\n" + bytes(65536) + b"\r\n")
            else:
                self.wfile.write(part)

        def _head(self, status: int, length: int, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            if "Transfer-Encoding" not in (headers or {}):
                self.send_header("Content-Length", str(length))
            self.end_headers()

    return Handler


@contextlib.contextmanager
def web() -> Iterator[Web]:
    """Run a web server."""
    server = Web()
    try:
        yield server
    finally:
        server.close()


@contextlib.contextmanager
def s3() -> Iterator[tuple[dict[str, str], Any]]:
    """Run a server that speaks S3; yield the environment that leads to it, and a client of boto3."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    names = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
    try:
        environment = {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_REGION": "us-east-1",
        }
        yield environment, boto3.client("s3", endpoint_url=url, **names)
    finally:
        server.stop()
