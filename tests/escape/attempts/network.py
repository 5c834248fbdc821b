"""The network: none of its own, and through the proxy only where the host is not."""

from tests.escape.attempt import GONE, NO, READ_ONLY, held

# There is no way there, or nobody.
NOWHERE = ("ENETUNREACH", "ECONNREFUSED")
REFUSED = ("403",)
# Said in a form that the proxy does not take for an address at all.
NO_ADDRESS = ("400", "403")

_DIRECTLY = [
    held("daemon_port", "It calls the daemon.", "tcp('127.0.0.1', daemon_port)", *NOWHERE),
    held(
        "daemon_port_6",
        "It calls the daemon by IPv6.",
        "tcp('::ffff:127.0.0.1', daemon_port)",
        *NOWHERE,
    ),
    held("host_port", "It calls the host by its address.", "tcp(host, daemon_port)", *NOWHERE),
    held(
        "model_port", "It calls the model past the proxy.", "tcp('127.0.0.1', model_port)", *NOWHERE
    ),
    held("internet", "It calls a server on the internet.", "tcp('1.1.1.1', 443)", *NOWHERE),
    held("internet_6", "It does so by IPv6.", "tcp('2606:4700:4700::1111', 443)", *NOWHERE),
    held(
        "metadata",
        "It asks the cloud for the machine's keys.",
        "tcp('169.254.169.254', 80)",
        *NOWHERE,
    ),
    held("private", "It calls a machine nearby.", "tcp('10.0.0.1', 22)", *NOWHERE),
    held(
        "dns",
        "It sends data out as names to look up.",
        "resolve('secret.example.com')",
        "no address",
    ),
    held("dns_server", "It asks a name server of its choice.", "udp('8.8.8.8', 53)", *NOWHERE),
    held("broadcast", "It calls to all nearby.", "udp('224.0.0.251', 5353)", *NOWHERE),
    held(
        "interfaces",
        "It looks for ways out.",
        "[name for _, name in socket.if_nameindex()]",
        "['lo']",
    ),
    held("way_out", "It makes a way out.", "set_address('lo', '10.0.0.2')", *NO),
    held(
        "abstract",
        "It reaches a service by a socket without a path.",
        "connect(socket.AF_UNIX, socket.SOCK_STREAM, abstract)",
        *NOWHERE,
    ),
    held(
        "unix",
        "It reaches a service by a socket in the host's folders.",
        "connect(socket.AF_UNIX, socket.SOCK_STREAM, unix)",
        *GONE,
    ),
]

_THROUGH_THE_PROXY = [
    held("proxy_daemon", "It calls the daemon.", "tunnel(f'127.0.0.1:{daemon_port}')", *REFUSED),
    held(
        "proxy_localhost",
        "It calls the host by name.",
        "tunnel(f'localhost:{daemon_port}')",
        *REFUSED,
    ),
    held(
        "proxy_host",
        "It calls the host by its address.",
        "tunnel(f'{host}:{daemon_port}')",
        *REFUSED,
    ),
    held(
        "proxy_any",
        "It calls the address that means this machine.",
        "tunnel(f'0.0.0.0:{daemon_port}')",
        *REFUSED,
    ),
    held("proxy_6", "It calls the host by IPv6.", "tunnel(f'[::1]:{daemon_port}')", *REFUSED),
    held(
        "proxy_mapped",
        "It wraps IPv4 in IPv6.",
        "tunnel(f'[::ffff:127.0.0.1]:{daemon_port}')",
        *REFUSED,
    ),
    held(
        "proxy_number",
        "It writes an address as one number.",
        "tunnel(f'2130706433:{daemon_port}')",
        *NO_ADDRESS,
    ),
    held(
        "proxy_octal",
        "It writes an address in octal.",
        "tunnel(f'0177.0.0.1:{daemon_port}')",
        *NO_ADDRESS,
    ),
    held(
        "proxy_short",
        "It leaves out parts of an address.",
        "tunnel(f'127.1:{daemon_port}')",
        *NO_ADDRESS,
    ),
    held(
        "proxy_metadata",
        "It asks the cloud for the machine's keys.",
        "fetch('http://169.254.169.254/latest/meta-data/')",
        *REFUSED,
    ),
    held("proxy_private", "It calls a machine nearby.", "fetch('http://10.0.0.1/')", *REFUSED),
    held(
        "proxy_shared", "It calls into the provider's network.", "tunnel('100.64.0.1:80')", *REFUSED
    ),
    held(
        "proxy_plain",
        "It calls the daemon without a tunnel.",
        "fetch(f'http://127.0.0.1:{daemon_port}/health')",
        *REFUSED,
    ),
    held(
        "socket_gone",
        "It takes the proxy's socket away.",
        "os.unlink('/run/ash/egress.sock')",
        *READ_ONLY,
    ),
    held(
        "socket_own", "It puts a socket of its own beside it.", "write('/run/ash/new')", *READ_ONLY
    ),
    held("key", "It looks for the model's key.", "mentions([KEY_BEGINS])", "[]"),
]

ATTEMPTS = [*_DIRECTLY, *_THROUGH_THE_PROXY]
