"""TLS for a cluster that is made for a run, with a certificate that only this run has.

One self-signed certificate is the certificate authority and the identity of every side. Only holders of its key belong
to the run; the handshake refuses all others, before dask reads a byte from them. The key is in one file that only its
owner can read. It is in no argument, environment variable or log, and is removed with the folder.
"""

from __future__ import annotations

import copy
import datetime as dt
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amltk.checks import check_text, check_type
from amltk.describe import describe_option

if TYPE_CHECKING:
    from distributed import Security

_DAY = dt.timedelta(days=1)
_LIFETIME = 3650 * _DAY  # a run never outlives its certificate


def check_security(security: Any, protocol: Any = None, host: Any = None) -> None:
    """Check that a value is a security, and that other options don't defeat it.

    Args:
        security: The user's value: None, True, False or a `Security` of dask.
        protocol: The user's protocol, as in "tcp://".
        host: The user's host, which may begin with a protocol.

    Raises:
        TypeError: It is something else.
        ValueError: The cluster gets a certificate, and the protocol does not use it.
    """
    check_text("protocol", protocol, or_none=True)
    if security is None or security is True:
        name = "protocol"
        if protocol is None and "://" in str(host):
            name, protocol = "host", host
        if protocol is not None and str(protocol).partition("://")[0] != "tls":
            shown = describe_option(name, protocol)
            msg = f"{name}={shown} is not encrypted: leave it out, or allow that with security=False."
            raise ValueError(msg)
    elif security is not False:
        from distributed import Security  # dask is imported on use

        check_type("security", security, Security)


def security_of(security: Any, folder: str | Path) -> Security | None:
    """Return the security of a new cluster.

    Args:
        security: The user's value. None and True: a certificate for this run. False: none.
        folder: The folder for a new certificate.
    """
    if security is None or security is True:
        return make_security(Path(folder) / "tls.pem")
    return security or None


def make_security(file: Path) -> Security:
    """Make a key and a certificate, and write both to `file`.

    `Security.temporary()` of dask takes up to half a second for an RSA key, and its certificate is not yet valid on
    machines whose clocks are late.
    """
    write_certificate(file)
    return security_from(file)


def security_from(file: Path) -> Security:
    """Return the `Security` of a cluster whose sides all have this file."""
    from distributed import Security

    path = str(file)
    names = [f"tls_{role}_{part}" for role in ("client", "scheduler", "worker") for part in ("cert", "key")]
    return Security(require_encryption=True, tls_ca_file=path, **dict.fromkeys(names, path))


def in_files(security: Security, folder: Path) -> Security:
    """Return a copy whose texts, such as those of `Security.temporary()`, are in files of this folder."""
    found = copy.copy(security)
    for name in security.__slots__:
        if "\n" in str(value := getattr(security, name)):
            _write(folder / f"{name}.pem", str(value).encode())
            setattr(found, name, str(folder / f"{name}.pem"))
    return found


def write_certificate(file: Path) -> None:
    """Write a new key and its self-signed certificate as PEM, readable only for the owner."""
    from cryptography import x509  # not before a run begins: it takes long to import
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "amltk: one run")])
    now = dt.datetime.now(dt.UTC)
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    # Python 3.13 and later require the extensions; older versions of dask leave them out.
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)  # clocks of other machines may be late
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ) + certificate.public_bytes(serialization.Encoding.PEM)
    _write(file, text)


def _write(file: Path, text: bytes) -> None:
    with open(file, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as target:
        target.write(text)
