"""A TLS connection that breaks does not break the next one in its thread."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from pathlib import Path

import pytest
from tornado.iostream import SSLIOStream

from amltk_dask import tls_errors
from amltk_dask.tls import make_security

WAITING = (ssl.SSLWantReadError, ssl.SSLWantWriteError)


def test_what_is_left_of_a_broken_connection_is_cleared(tmp_path: Path) -> None:
    security = make_security(tmp_path / "tls.pem")
    ours = security.get_connection_args("client")["ssl_context"]
    theirs = security.get_listen_args("scheduler")["ssl_context"]

    def pair() -> list[ssl.SSLSocket]:
        one, other = socket.socketpair()
        one.setblocking(False)
        other.setblocking(False)
        sides = [
            ours.wrap_socket(one, do_handshake_on_connect=False),
            theirs.wrap_socket(other, server_side=True, do_handshake_on_connect=False),
        ]
        for _ in range(4):
            for side in sides:
                with contextlib.suppress(*WAITING):
                    side.do_handshake()
        return sides

    with contextlib.ExitStack() as opened:
        (gone, broken), sound = ([opened.enter_context(side) for side in pair()] for _ in range(2))
        gone.close()
        for operation in (lambda: broken.read(9), lambda: broken.send(b"x")) * 2:
            try:
                operation()
            except OSError:
                tls_errors.clear_errors()
            with pytest.raises(ssl.SSLWantReadError):
                sound[1].read(9)


def test_a_stream_that_is_closed_for_an_error_clears_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_errors, "_FIRST_AFFECTED", (0,))
    monkeypatch.setattr(SSLIOStream, "close", getattr(SSLIOStream.close, "__wrapped__", SSLIOStream.close))
    tls_errors.isolate_tls_errors()
    close = SSLIOStream.close
    tls_errors.isolate_tls_errors()
    assert SSLIOStream.close is close
    cleared: list[int] = []
    monkeypatch.setattr(tls_errors, "clear_errors", lambda: cleared.append(1))

    async def main() -> None:
        for error, times in ((False, 0), (OSError(), 1)):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            stream = SSLIOStream(
                context.wrap_socket(socket.socket(), do_handshake_on_connect=False, server_hostname="x")
            )
            stream.close(exc_info=error)
            assert stream.closed()
            assert len(cleared) == times

    asyncio.run(main())
