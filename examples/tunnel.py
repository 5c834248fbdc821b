"""python3 tunnel.py PORT HOST:PORT: what connects to 127.0.0.1:PORT reaches HOST:PORT.

For programs in a sandbox that know no HTTP proxy, such as the clients of databases. Put it into an
agent's folder, and start it in the background in startup.sh. `network` has to name HOST:PORT.
"""

import os
import socket
import sys
import threading
from urllib.parse import urlsplit


def main(port: int, target: str) -> None:
    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            client, _ = listener.accept()
            threading.Thread(target=serve, args=(client, target), daemon=True).start()


def serve(client: socket.socket, target: str) -> None:
    proxy = urlsplit(os.environ["HTTPS_PROXY"])
    with client, socket.create_connection((proxy.hostname, proxy.port)) as server:
        server.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n") and (byte := server.recv(1)):
            head += byte
        if b" 200" not in head.partition(b"\r\n")[0]:
            print(f"{target} can't be reached: {head.decode()}", file=sys.stderr)
            return
        back = threading.Thread(target=copy, args=(server, client), daemon=True)
        back.start()
        copy(client, server)
        back.join()


def copy(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65_536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:  # one side has closed the connection
        pass


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
