"""
Which addresses somebody outside may make us ask: public ones, and never those that tell a machine's
credentials. What a name resolves to is download.py's.
"""

import ipaddress
from collections.abc import Iterable, Iterator

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Where machines learn who they are and what they may do; some of these count as public addresses.
NEVER: tuple[Network, ...] = tuple(map(ipaddress.ip_network, (
    "169.254.0.0/16", "fe80::/10",  # link-local: AWS, Google, Azure, and most others
    "fd00:ec2::/32",                # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
    "fd20:ce::/64",                 # https://docs.cloud.google.com/compute/docs/metadata/querying-metadata
    "168.63.129.16/32",             # https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16
    "100.100.100.200/32",           # https://www.alibabacloud.com/help/en/ecs/user-guide/view-instance-metadata
    "192.0.0.192/32",               # Oracle Cloud's, of old
)))  # fmt: skip
# How networks without IPv4 ask an address of it: https://www.rfc-editor.org/rfc/rfc6052
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class Reach:
    """The addresses that may be asked: public ones, and those of some networks."""

    def __init__(self, networks: Iterable[str] = ()) -> None:
        self._networks = tuple(map(ipaddress.ip_network, networks))

    def may(self, address: str) -> bool:
        """Whether it may be asked, by whatever it means: IPv6 may have an IPv4 address in it."""
        try:
            given = ipaddress.ip_address(address)
        except ValueError:
            return False
        return all(map(self._may, _meant(given)))

    def _may(self, address: Address) -> bool:
        if any(address in network for network in NEVER):
            return False
        if any(address in network for network in self._networks):
            return True
        return address.is_global and not address.is_multicast and not address.is_reserved


def _meant(address: Address) -> Iterator[Address]:
    """The address, and every other that a packet to it may end at."""
    if isinstance(address, ipaddress.IPv4Address):
        yield address
        return
    if address.ipv4_mapped is not None or address in _NAT64:
        yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return
    yield address
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
