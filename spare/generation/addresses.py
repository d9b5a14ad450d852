"""Which addresses a stranger's URL may lead to: public ones, looked at after the name is resolved.

A URL out of a data set may name a machine of one's own network, or of the cloud that one runs in
(169.254.169.254). So the name is resolved once, every address that it has is looked at, and the
connection goes to one of those and to nothing else: a name that means something else a moment
later (DNS rebinding) finds nobody asking.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

PORTS = {"http": 80, "https": 443}
NAT64 = ipaddress.ip_network("64:ff9b::/96")

Resolve = Callable[[str, int], Sequence[str]]
"""(host, port) -> its addresses. Raises OSError if it has none."""


class RefusedError(Exception):
    """A URL leads where it must not; the message is a sentence."""


class Target(NamedTuple):
    """Where a request goes: to `address`, as one to `host`."""

    scheme: str
    host: str
    port: int
    address: str
    path: str


def resolve(host: str, port: int) -> list[str]:
    """A host's addresses, as the system knows them. Raises OSError if it has none."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def target(url: str, *, private: Collection[str] = (), look_up: Resolve = resolve) -> Target:
    """Where a URL leads.

    Args:
        private: hosts that may be anywhere and at any port (a mirror of one's own).

    Raises:
        RefusedError: it is no web address, has a name and password in it, or one of its addresses
            is not public. OSError: its host has no address.
    """
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError as error:
        raise RefusedError(f"It is no URL ({error}).") from None
    host = parts.hostname or ""
    if parts.scheme not in PORTS or not host:
        raise RefusedError(f"It is no http or https address: {url[:80]!r}.")
    if parts.username is not None or parts.password is not None:
        raise RefusedError("It has a user's name in it.")
    port = PORTS[parts.scheme] if port is None else port
    if port not in PORTS.values() and host not in private:
        raise RefusedError(f"It leads to port {port}.")
    addresses = look_up(host, port)
    if not addresses:
        raise OSError(f"{host} has no address")
    for address in addresses:
        if host not in private and not is_public(address):
            raise RefusedError(f"It leads to {address}, which is not on the public internet.")
    path = parts.path or "/"
    return Target(
        parts.scheme, host, port, addresses[0], f"{path}?{parts.query}" if parts.query else path
    )


def is_public(address: str) -> bool:
    """Whether an address, and every address that is wrapped in it, is one of the public internet.

    `ipaddress` calls some global that lead home: an IPv4 address in the clothes of IPv6 (mapped,
    6to4, Teredo, NAT64), and multicast.
    """
    try:
        one = ipaddress.ip_address(address.split("%")[0])
    except ValueError:
        return False
    if not one.is_global or one.is_multicast or one.is_unspecified or one.is_reserved:
        wrapped = isinstance(one, ipaddress.IPv6Address) and one in NAT64
        if not wrapped:
            return False
    return all(is_public(str(inner)) for inner in _wrapped(one))


def _wrapped(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> list[ipaddress.IPv4Address]:
    """IPv4 addresses that an IPv6 address stands for."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in NAT64:
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
    return [one for one in found if one is not None]
