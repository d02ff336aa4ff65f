"""Keeps a broken TLS connection from breaking the next one.

With OpenSSL 3.4 and later, Python leaves the error of a write to a closed connection in OpenSSL's list of errors
(CPython's issue 148594). The next read in that thread, on any connection, then raises `BrokenPipeError`. dask closes a
sound connection, and loses the calls. All connections of a dask process share one thread.
"""

from __future__ import annotations

import contextlib
import functools
import ssl
from typing import Any

from tornado.iostream import SSLIOStream

_FIRST_AFFECTED = (3, 4)


def isolate_tls_errors() -> None:
    """Make tornado's streams clear the list whenever one of them closes because of an error."""
    if ssl.OPENSSL_VERSION_INFO < _FIRST_AFFECTED or hasattr(SSLIOStream.close, "__wrapped__"):
        return
    close = SSLIOStream.close

    @functools.wraps(close)
    def close_and_clear(self: SSLIOStream, exc_info: Any = False) -> None:
        if exc_info:
            clear_errors()
        close(self, exc_info)

    SSLIOStream.close = close_and_clear  # type: ignore[method-assign, assignment]


def clear_errors() -> None:
    """Clear OpenSSL's list of errors of this thread."""
    # Python has no function for this, but clears the list before it reports that no cipher matches.
    with contextlib.suppress(ssl.SSLError):
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).set_ciphers("no cipher")
