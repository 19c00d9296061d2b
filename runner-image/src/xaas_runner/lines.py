"""Messages as lines of bytes over a stream socket."""

import socket


class LineSocket:
    """Cuts what arrives into lines, and sends lines whole."""

    def __init__(self, stream: socket.socket, limit: int) -> None:
        self._stream = stream
        self._limit = limit
        self._read = bytearray()

    def receive(self) -> list[bytes] | None:
        """Read once; return the lines that are complete now, or None at the end of the stream.

        ValueError if a line grows beyond the limit, OSError if the stream is broken.
        """
        data = self._stream.recv(256 * 1024)
        if not data:
            return None
        self._read += data
        *lines, rest = self._read.split(b"\n")
        if len(rest) > self._limit:
            raise ValueError(f"a line is longer than {self._limit} bytes")
        self._read = bytearray(rest)
        return [bytes(line) for line in lines if line]

    def send(self, line: bytes) -> None:
        """Send one line. OSError if the stream is broken."""
        self._stream.sendall(line + b"\n")
