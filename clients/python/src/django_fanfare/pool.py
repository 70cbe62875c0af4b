"""HTTP/1.1 over connections that are kept: by the standard library, for threads and forks alike, without an event loop."""

from __future__ import annotations

import http.client
import select
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from typing import Optional
from urllib.parse import urlsplit

from . import _fork
from .errors import InvalidEvent, Unreachable

#: Connections that are kept while nobody uses them; threads beyond that open one for each request.
IDLE = 16
#: A connection that nobody has used for so long, in seconds, is not used again: what stands between may have forgotten it.
IDLE_SECONDS = 55.0
#: What an answer may have, in bytes. The largest that the API gives is a page of history: 1,000 events of 60 KiB.
ANSWER_BYTES = 64 << 20
#: What is read at once.
PIECE = 64 << 10


@dataclass(frozen=True)
class Answer:
    """An answer whose body has been read."""

    status: int
    body: bytes


class Pool:
    """Connections to one server. Any thread may ask; after a fork parent and child have connections of their own."""

    def __init__(self, url: str, context: Optional[ssl.SSLContext] = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidEvent(f"url {url!r}: the server's address is http://host:port or https://host:port")
        self.url = url.rstrip("/")
        self._host, self._port, self._prefix = parts.hostname, parts.port, parts.path.rstrip("/")
        self._context = (context or ssl.create_default_context()) if parts.scheme == "https" else None
        self._idle: list[tuple[http.client.HTTPConnection, float]] = []
        self.reset_after_fork()
        _fork.register(self)

    def reset_after_fork(self) -> None:
        """Begins without connections: those of the parent are its own, and closing a child's copy does not end them."""
        self._lock = threading.Lock()
        self.close()

    def request(self, method: str, path: str, body: Optional[bytes], headers: dict[str, str], deadline: float) -> Answer:
        """Asks, and reads the answer. `deadline` is a time of `time.monotonic`.

        A kept connection that turns out to be closed is replaced at once, so what is asked must bear repetition.

        Raises `Unreachable` if no answer comes.
        """
        kept = self._take()
        if kept is not None:
            try:
                return self._ask(kept, method, path, body, headers, deadline)
            except (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError, http.client.HTTPException):
                pass  # The server closed it while nobody looked.
            except OSError as error:
                raise Unreachable(self._sentence(error)) from error
        try:
            return self._ask(self._open(deadline), method, path, body, headers, deadline)
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(self._sentence(error)) from error

    def close(self) -> None:
        """Closes the connections that nobody uses."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection, _ in idle:
            connection.close()

    def _ask(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: Optional[bytes],
        headers: dict[str, str],
        deadline: float,
    ) -> Answer:
        try:
            _wait_until(connection, deadline)
            connection.request(method, self._prefix + path, body, headers)
            _wait_until(connection, deadline)
            response = connection.getresponse()
            read = _read(response)
        except BaseException:
            connection.close()
            raise
        if response.will_close:
            connection.close()
        else:
            self._give_back(connection)
        return Answer(response.status, read)

    def _open(self, deadline: float) -> http.client.HTTPConnection:
        timeout = _remaining(deadline)
        if self._context is None:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout)
        else:
            connection = http.client.HTTPSConnection(self._host, self._port, timeout=timeout, context=self._context)
        connection.connect()
        # Head and body are two writes; the second must not wait for the first one's acknowledgement.
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _take(self) -> Optional[http.client.HTTPConnection]:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection, since = self._idle.pop()
            if time.monotonic() - since < IDLE_SECONDS and not _readable(connection.sock):
                return connection
            connection.close()

    def _give_back(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            if len(self._idle) < IDLE:
                self._idle.append((connection, time.monotonic()))
                return
        connection.close()

    def _sentence(self, error: BaseException) -> str:
        late = isinstance(error, (TimeoutError, socket.timeout))  # One and the same since Python 3.10.
        what = "no answer in time" if late else str(error).strip() or type(error).__name__
        return f"{self.url} does not answer: {what}"


def _remaining(deadline: float) -> float:
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise TimeoutError
    return remaining


def _wait_until(connection: http.client.HTTPConnection, deadline: float) -> None:
    connection.sock.settimeout(_remaining(deadline))


def _read(response: http.client.HTTPResponse) -> bytes:
    """The whole body. In pieces, for some versions of the library make room for as much as is asked for."""
    parts, size = [], 0
    while not response.isclosed():
        parts.append(response.read(min(PIECE, response.length or PIECE)))
        size += len(parts[-1])
        if size > ANSWER_BYTES:
            raise http.client.HTTPException(f"an answer of more than {ANSWER_BYTES} bytes")
        if not parts[-1] and not response.isclosed():
            raise http.client.HTTPException("an answer that breaks off")
    if response.length:
        raise http.client.HTTPException("an answer that breaks off")
    return b"".join(parts)


def _readable(sock: Optional[socket.socket]) -> bool:
    """Whether there is something to read where nothing was asked: the end of the connection, mostly."""
    if sock is None:
        return True
    if hasattr(select, "poll"):  # select() has no room for descriptors beyond 1,023.
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([sock], [], [], 0)[0])
