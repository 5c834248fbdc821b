"""Whether an address can only be reached from this machine."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether the host is a loopback address or localhost; other names are not resolved."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
