"""A server of a folder's files, as cheap as Python has it, that answers after a while.

Usage: serve.py FOLDER SECONDS

It prints its port. Of HTTP it knows GET of whole files, which is what S3 is for whoever reads one: the
folder is a bucket, and nobody's signature is looked at.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from functools import cache
from pathlib import Path


class Server(asyncio.Protocol):
    """One connection."""

    def __init__(self, folder: Path, delay_s: float) -> None:
        self._folder, self._delay_s = folder, delay_s
        self._asked = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        self._asked += data
        while b"\r\n\r\n" in self._asked:
            head, self._asked = self._asked.split(b"\r\n\r\n", 1)
            path = head.split(b" ", 2)[1].decode().lstrip("/")
            asyncio.get_running_loop().call_later(self._delay_s, self._send, path)

    def _send(self, path: str) -> None:
        if not self._transport.is_closing():
            self._transport.write(_answer(self._folder / path))


@cache
def _answer(path: Path) -> bytes:
    data = path.read_bytes()
    head = (
        f'HTTP/1.1 200 OK\r\nContent-Length: {len(data)}\r\nETag: "{path.name}"\r\n'
        "Last-Modified: Wed, 21 Oct 2015 07:28:00 GMT\r\n\r\n"
    )
    return head.encode() + data


async def main(folder: Path, delay_s: float) -> None:
    """Serve until the process is ended."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Server(folder, delay_s), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), float(sys.argv[2])))
