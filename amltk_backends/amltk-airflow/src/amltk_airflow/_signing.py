"""The key that both sides share: nothing in the store is unpickled without it.

A signature also covers what the data stands for, so data that was signed for one call can't be used for another.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from pathlib import Path

KEY = "AMLTK_AIRFLOW_KEY"
KEY_FILE = "AMLTK_AIRFLOW_KEY_FILE"
SHORTEST = 32

_MAKE_ONE = (
    "(umask 077; python3 -c 'import secrets; print(secrets.token_hex(32))' > amltk-airflow.key) makes a key; "
    f"key_file= or {KEY_FILE} is the path of such a file, {KEY} the key itself. "
    "This program and Airflow's workers need the same key."
)


class KeyMissingError(ValueError):
    """There is no usable key; the message never contains it."""


class SignatureError(Exception):
    """Data was not signed with the key."""


class Key:
    """The shared key; its text is not shown, and it can't be pickled by accident."""

    def __init__(self, text: str, origin: str) -> None:
        """Make a key from its text.

        Args:
            text: The key's text.
            origin: Where it comes from, for the error.

        Raises:
            KeyMissingError: It is too short.
        """
        self._key = text.strip().encode()
        if len(self._key) < SHORTEST:
            msg = f"The key of {origin} has {len(self._key)} characters; it needs {SHORTEST} or more. {_MAKE_ONE}"
            raise KeyMissingError(msg)

    def __reduce__(self) -> tuple[object, ...]:
        msg = "The key can't be pickled."
        raise TypeError(msg)

    def sign(self, *parts: str) -> str:
        """Return the HMAC of texts, in their order."""
        mac = hmac.new(self._key, digestmod=hashlib.sha256)
        for part in parts:
            data = part.encode()
            mac.update(len(data).to_bytes(8, "big") + data)
        return mac.hexdigest()

    def check(self, signature: str, *parts: str) -> None:
        """Check a signature.

        Raises:
            SignatureError: It is not the signature of these texts by this key.
        """
        if not hmac.compare_digest(signature.encode(), self.sign(*parts).encode()):
            msg = "the signature is not that of this key: the keys differ, or the writer does not have it"
            raise SignatureError(msg)

    def seal(self, data: bytes, *about: str) -> bytes:
        """Return data with a signature, for `unseal`."""
        return self.sign(digest(data), *about).encode() + b"\n" + data

    def unseal(self, sealed: bytes, *about: str) -> bytes:
        """Return the data that `seal` signed.

        Raises:
            SignatureError: It is unsigned, signed with another key or for something else, or changed.
        """
        signature, _, data = sealed.partition(b"\n")
        self.check(signature.decode("ascii", "replace"), digest(data), *about)
        return data


def digest(data: bytes) -> str:
    """Return the SHA-256 digest."""
    return hashlib.sha256(data).hexdigest()


def read_key(path: str | None = None) -> Key:
    """Return the key of a file, or of the environment.

    Raises:
        KeyMissingError: There is none, it can't be read, or it is too short.
    """
    if path is None and (text := os.environ.get(KEY, "")):
        return Key(text, f"the environment variable {KEY}")
    path = path or os.environ.get(KEY_FILE, "")
    if not path:
        msg = f"There is no key: neither key_file= nor {KEY} nor {KEY_FILE} is set. {_MAKE_ONE}"
        raise KeyMissingError(msg)
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"The key can't be read from {path}: {error}. {_MAKE_ONE}"
        raise KeyMissingError(msg) from error
    return Key(text, path)
