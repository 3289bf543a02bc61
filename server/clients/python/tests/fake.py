"""A server of one script, for the tests: it says what it is told to, also what no server should.

It uses the client's codec in the other direction; `test_wire` has bytes written by hand, so that the two cannot be
wrong together.
"""

import pathlib
import socket
import sys
import threading
from typing import Any, Callable, List, Optional, Tuple

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "src"))

from erstwhile import _wire as wire  # noqa: E402

STORE = bytes(range(16))
PATIENCE = 10


def welcome(**changes: Any) -> wire.Welcome:
    fields = dict(
        version=1,
        capabilities=0,
        roles=7,
        store=STORE,
        server="fake/1",
        request_bytes_max=1 << 20,
        requests_max=4,
        window_bytes_max=1 << 20,
        request_millis_max=20_000,
        idle_millis_max=60_000,
    )
    fields.update(changes)
    return wire.Welcome(**fields)


class Peer:
    """The server's end of a connection."""

    def __init__(self, sock: socket.socket):
        self.sock = sock
        self.hello: Optional[wire.Hello] = None

    def exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self.sock.recv(count - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def next(self) -> Tuple[int, Any]:
        """Id and message of the next frame."""
        header = self.exactly(16)
        payload = self.exactly(wire.frame_length(header, 1 << 24))
        kind, ident = wire.open_frame(header, payload)
        return ident, wire.decode(kind, payload)

    def expect(self, kind: type) -> Tuple[int, Any]:
        ident, message = self.next()
        assert type(message) is kind, f"{message} where {kind.__name__} was to come"
        return ident, message

    def send(self, message: Any, ident: int = 0) -> None:
        kind, payload = wire.encode(message)
        self.sock.sendall(wire.frame(kind, ident, payload))

    def raw(self, data: bytes) -> None:
        self.sock.sendall(data)

    def greet(self, **changes: Any) -> None:
        ident, self.hello = self.expect(wire.Hello)
        assert ident == 0
        self.send(welcome(**changes))

    def part(self, ident: int, kind: int, entries: List[Any]) -> int:
        """Sends a part; how many bytes of credit it took."""
        message = wire.Part(kind, entries)
        self.send(message, ident)
        return len(wire.encode(message)[1])

    def done(self, ident: int, request: int, **values: Any) -> None:
        self.send(wire.Done(request, values), ident)

    def bye(self) -> None:
        """Answers a goodbye; credit may come before it, given while an answer ended."""
        message: Any = wire.Credit(0)
        while isinstance(message, wire.Credit):
            _, message = self.next()
        assert isinstance(message, wire.Goodbye), f"{message} where a goodbye was to come"
        self.send(wire.ServerGoodbye())


class FakeServer:
    """`script(peer)` runs for each connection; what goes wrong in it is raised when the `with` ends."""

    def __init__(self, script: Callable[[Peer], None], context: Any = None):
        self._script = script
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(PATIENCE)
        self.address = "127.0.0.1:%d" % self._listener.getsockname()[1]
        self._wrong: List[BaseException] = []
        self._threads: List[threading.Thread] = []

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        sock.settimeout(PATIENCE)
        try:
            if self._context is not None:
                try:
                    sock = self._context.wrap_socket(sock, server_side=True)
                except OSError:  # The client did not like the certificate.
                    return
            self._script(Peer(sock))
        except BaseException as error:
            self._wrong.append(error)
        finally:
            sock.close()

    def __enter__(self) -> "FakeServer":
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        for thread in self._threads:
            thread.join(PATIENCE)
        # A blocked accept is not woken by a close everywhere; a shutdown does it.
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()
        if self._wrong and kind is None:
            raise self._wrong[0]


def held(host: str = "web-1", verdict: str = "definite", **columns: str) -> wire.Version:
    return wire.Version(
        host, "users", columns or {"uid": "1000", "username": "ada"}, 1, 100, 90, 200, 190, "seen", "gone", True,
        verdict, 150, 160,
    )  # fmt: skip


COUNTS = wire.CoverageCounts(3, 2, 1, 0, 4, [wire.SilentHost("db-1", "gap")])
STATE_END = dict(table="users", at=150, known_at=5_000_001, coverage=COUNTS, cost=[1, 2, 3, 4, 5, 6, 7, 8])
