"""A self-signed certificate: kept while it is good, for its names, for nobody else to read."""

import math
import stat
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from headrace.edge.certificate import DAYS, expiry, self_signed
from headrace.errors import StartError

NAMES = ("localhost", "127.0.0.1", "::1")


def made(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_made_once(tmp_path: Path) -> None:
    """A second call finds it; so clients trust one file."""
    first = self_signed(tmp_path / "new", NAMES).cert.read_bytes()

    assert first == self_signed(tmp_path / "new", NAMES).cert.read_bytes()


def test_names_and_time(tmp_path: Path) -> None:
    """It is for the names and addresses asked for, and ends in 90 days."""
    cert = made(self_signed(tmp_path, NAMES).cert)
    named = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    left = cert.not_valid_after_utc - datetime.now(UTC)

    assert ["localhost"] == named.get_values_for_type(x509.DNSName)
    assert ["127.0.0.1", "::1"] == [str(a) for a in named.get_values_for_type(x509.IPAddress)]
    assert timedelta(days=DAYS - 1) < left <= timedelta(days=DAYS)


def test_others_cannot_read_the_key(tmp_path: Path) -> None:
    """Only its owner reads it; no half-written file is left."""
    pair = self_signed(tmp_path, NAMES)

    assert 0o600 == stat.S_IMODE(pair.key.stat().st_mode)
    assert {"tls.crt", "tls.key"} == {path.name for path in tmp_path.iterdir()}


def test_made_anew_for_other_names(tmp_path: Path) -> None:
    """A name more is a new certificate; so is a file that is none."""
    first = self_signed(tmp_path, ("localhost",)).cert.read_bytes()
    second = self_signed(tmp_path, NAMES).cert.read_bytes()
    (tmp_path / "tls.crt").write_text("no certificate")
    third = self_signed(tmp_path, NAMES).cert.read_bytes()

    assert 3 == len({first, second, third})


def test_made_anew_before_its_end(tmp_path: Path) -> None:
    """One that ends within a week is replaced."""
    first = self_signed(tmp_path, NAMES, days=6).cert.read_bytes()

    assert first != self_signed(tmp_path, NAMES).cert.read_bytes()


@pytest.mark.parametrize("ahead", [timedelta(days=400), timedelta(days=-400)])
def test_made_anew_when_the_clock_was_wrong(tmp_path: Path, ahead: timedelta) -> None:
    """One that was made by a clock far ahead or behind is replaced when the clock is right."""
    now = datetime.now(UTC)
    first = self_signed(tmp_path, NAMES, now=now + ahead).cert.read_bytes()
    second = made(self_signed(tmp_path, NAMES).cert)

    assert first != (tmp_path / "tls.crt").read_bytes()
    assert second.not_valid_before_utc < now < second.not_valid_after_utc


def test_made_anew_where_the_key_is_anothers(tmp_path: Path) -> None:
    """A certificate and a key that do not belong together, as a crash may leave them, are none."""
    pair = self_signed(tmp_path, NAMES)
    cert = pair.cert.read_bytes()
    pair.key.write_bytes(self_signed(tmp_path / "other", NAMES).key.read_bytes())

    assert cert != self_signed(tmp_path, NAMES).cert.read_bytes()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """One sentence says which setting to change."""
    (tmp_path / "file").write_text("")

    with pytest.raises(StartError, match=r"Cannot keep a certificate in .*: set|; set `edge\.tls"):
        self_signed(tmp_path / "file" / "tls", NAMES)


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what to install."""
    monkeypatch.setitem(sys.modules, "cryptography.x509", None)

    with pytest.raises(StartError, match=r"pip install 'headrace\[edge\]'"):
        self_signed(tmp_path, NAMES)


def test_expiry(tmp_path: Path) -> None:
    """It is told of any PEM file; one that is none has no number."""
    pair = self_signed(tmp_path, NAMES, days=30)
    (tmp_path / "no").write_text("no certificate")

    left = timedelta(seconds=expiry(pair.cert) - datetime.now(UTC).timestamp())
    assert timedelta(days=29) < left <= timedelta(days=30)
    assert math.isnan(expiry(tmp_path / "no"))
    assert math.isnan(expiry(tmp_path / "missing"))
