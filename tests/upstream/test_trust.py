"""trust.py: whose certificates are believed, and that this is read once."""

import os
import ssl
from pathlib import Path

import pytest
import trustme

from headrace.upstream.trust import context


def test_read_once() -> None:
    """A thousand replicas cost no more than one."""
    assert context(None, verify=True) is context(None, verify=True)
    assert context(None, verify=True) is not context(None, verify=False)


def test_a_new_authority(tmp_path: Path) -> None:
    """A file that was replaced is read again."""
    file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(file)
    first = context(file, verify=True)
    file.write_bytes(trustme.CA().cert_pem.bytes())
    os.utime(file, ns=(1, 1))

    assert first is not context(file, verify=True)
    assert context(file, verify=True).get_ca_certs() != first.get_ca_certs()


@pytest.mark.parametrize("verify", [True, False])
def test_what_is_checked(verify: bool) -> None:
    """Certificates and names are checked, or neither."""
    found = context(None, verify=verify)

    assert (verify, verify) == (found.check_hostname, found.verify_mode is ssl.CERT_REQUIRED)
