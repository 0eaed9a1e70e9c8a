"""A name server on loopback that answers over UDP from a table, and fails on demand."""

import asyncio
from typing import Self

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset


class NameServer(asyncio.DatagramProtocol):
    """Names that are not in the table do not exist."""

    def __init__(self) -> None:
        self.table: dict[tuple[str, str], list[str]] = {}
        self.ttl_s = 60
        self.rcode = dns.rcode.NOERROR
        self.silent = False
        self.asked: list[tuple[str, str]] = []
        self.address = ""
        self._transport: asyncio.DatagramTransport | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(
            lambda: self, local_addr=("127.0.0.1", 0)
        )
        host, port = transport.get_extra_info("sockname")
        self.address = f"{host}:{port}"
        self._transport = transport
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._transport is not None:
            self._transport.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if not self.silent and self._transport is not None:
            self._transport.sendto(self._answer(dns.message.from_wire(data)).to_wire(), addr)

    def _answer(self, query: dns.message.Message) -> dns.message.Message:
        (question,) = query.question
        name, kind = question.name.to_text(), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        if self.rcode != dns.rcode.NOERROR:
            answer.set_rcode(self.rcode)
        elif rows := self.table.get((name, kind)):
            answer.answer.append(dns.rrset.from_text(name, self.ttl_s, "IN", kind, *rows))
        elif not any(name == known for known, _ in self.table):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        return answer
