"""reach.py: nothing inside is asked for somebody outside, however its address is spelt."""

import pytest

from headrace.upstream.reach import Reach

PUBLIC = ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]
INSIDE = [
    "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1",
    "198.18.0.1", "192.0.2.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255",
    "::", "::1", "fc00::1", "fdab::1", "ff02::1", "2001:db8::1", "fe80::1", "fe80::1%eth0",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1",
    "64:ff9b:1::7f00:1", "2002:7f00:1::", "2002:a9fe:a9fe::1",
    "2001:0:7f00:1:0:ffff:7f00:1", "2001:0:101:101:0:0:80ff:fffe",
]  # fmt: skip
METADATA = [
    "169.254.169.254", "169.254.170.2", "::ffff:169.254.169.254", "::ffff:a9fe:a9fe",
    "fd00:ec2::254", "fd20:ce::254", "168.63.129.16", "100.100.100.200", "192.0.0.192",
    "64:ff9b::a9fe:a9fe",
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_asked(address: str) -> None:
    """In both versions, and IPv4 within IPv6."""
    assert Reach().may(address)


@pytest.mark.parametrize("address", [*INSIDE, *METADATA])
def test_what_is_inside_may_not(address: str) -> None:
    """Private, shared, reserved, multicast, this machine; also as IPv6 that ends at such a one."""
    assert not Reach().may(address)


def test_networks_of_ones_own_may_be_asked() -> None:
    """Those that were named, and no others; IPv4 also where it comes as IPv6."""
    reach = Reach(["10.20.0.0/16", "fd12:3456::/32"])

    assert [True, True, True, False, False] == [
        reach.may(address)
        for address in ("10.20.3.4", "::ffff:10.20.3.4", "fd12:3456::1", "10.21.0.1", "fd13::1")
    ]


@pytest.mark.parametrize("address", METADATA)
def test_metadata_never_may(address: str) -> None:
    """Whatever networks are named: credentials of machines are there."""
    assert not Reach(["0.0.0.0/0", "::/0"]).may(address)


@pytest.mark.parametrize("address", ["", "localhost", "1.1.1", "0x7f000001", "1.1.1.1:80"])
def test_what_is_no_address_may_not(address: str) -> None:
    """Names and odd spellings are for the resolver, and nothing passes as its answer."""
    assert not Reach(["0.0.0.0/0"]).may(address)
