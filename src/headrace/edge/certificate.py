"""
A self-signed certificate for this machine, made once and kept. One for others comes from elsewhere.

It needs ``cryptography``, which comes with ``headrace[edge]`` and is imported when it is used.
"""

import importlib
import math
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from headrace.errors import StartError

DAYS = 90
RENEW = timedelta(days=7)  # before its end
INSTALL = "pip install 'headrace[edge]'"


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, as PEM files."""

    cert: Path
    key: Path


def self_signed(
    folder: Path, names: tuple[str, ...], days: int = DAYS, now: datetime | None = None
) -> Pair:
    """
    The certificate in ``folder``; a new one, good for ``days``, if there is none, or it ends soon,
    lacks a name, is not its key's, or begins later: a clock that was set back made it.

    Raises:
        StartError: the folder cannot be written, or the package is not installed.

    """
    folder, now = folder.expanduser(), now or datetime.now(UTC)
    pair = Pair(folder / "tls.crt", folder / "tls.key")
    try:
        if not _is_good(pair, names, now):
            folder.mkdir(parents=True, exist_ok=True)
            cert, key = _make(names, days, now)
            _write(pair.key, key)
            _write(pair.cert, cert)
    except OSError as error:
        raise StartError(
            f"Cannot keep a certificate in {folder}: {error.strerror}; set `edge.tls.dir`."
        ) from None
    return pair


def expiry(cert: Path) -> float:
    """
    When a certificate in a PEM file expires, in seconds since 1970; NaN where it cannot be read.
    Of a chain, the first one counts.
    """
    x509 = _library("cryptography.x509")
    try:
        found = x509.load_pem_x509_certificate(cert.expanduser().read_bytes())
    except (OSError, ValueError):
        return math.nan
    return float(found.not_valid_after_utc.timestamp())


def _is_good(pair: Pair, names: tuple[str, ...], now: datetime) -> bool:
    x509 = _library("cryptography.x509")
    serialization = _library("cryptography.hazmat.primitives.serialization")
    if not pair.cert.exists() or not pair.key.exists():
        return False
    try:
        cert = x509.load_pem_x509_certificate(pair.cert.read_bytes())
        key = serialization.load_pem_private_key(pair.key.read_bytes(), None)
        named = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, TypeError, x509.ExtensionNotFound):
        return False
    in_time = cert.not_valid_before_utc <= now and now + RENEW < cert.not_valid_after_utc
    ours = key.public_key() == cert.public_key()  # not so if we were ended between the two files
    return in_time and ours and set(_names(x509, names)) == set(named)


def _make(names: tuple[str, ...], days: int, now: datetime) -> tuple[bytes, bytes]:
    """The PEM texts of a certificate and its key."""
    x509 = _library("cryptography.x509")
    hashes = _library("cryptography.hazmat.primitives.hashes")
    serialization = _library("cryptography.hazmat.primitives.serialization")
    elliptic = _library("cryptography.hazmat.primitives.asymmetric.ec")
    key = elliptic.generate_private_key(elliptic.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Headrace, self-signed")])
    cert = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))  # clocks differ
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName(_names(x509, names)), critical=False)
        # An authority for itself: clients that are given the file as one then trust it.
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    return cert.public_bytes(pem), key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _names(x509: Any, names: tuple[str, ...]) -> list[Any]:
    found: list[Any] = []
    for name in names:
        try:
            found.append(x509.IPAddress(ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
    return found


def _write(path: Path, text: bytes) -> None:
    """In one step and for nobody else's eyes."""
    new = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text)
    new.replace(path)


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise StartError(
            f"A self-signed certificate needs the package cryptography: {INSTALL},"
            " or set `edge.tls.cert` and `edge.tls.key`."
        ) from None
