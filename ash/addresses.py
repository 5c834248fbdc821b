"""What an address says of who can reach it."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address; names other than localhost are not."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
