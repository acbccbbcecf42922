"""Cut a Python process off from the network: with this folder on PYTHONPATH it starts so.

Whoever tries to reach another machine gets an OSError, and the attempt is noted in the file that
NETWORK_ATTEMPTS names, for a library may swallow the error and go on without a word.
"""

import os
import sys

_HERE = (None, "", "localhost", "127.0.0.1", "::1", "0.0.0.0")


def _refuse(event: str, arguments: tuple) -> None:
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event == "socket.connect" and isinstance(arguments[1], tuple):  # else a Unix socket
        host = arguments[1][0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if host not in _HERE:
        with open(os.environ["NETWORK_ATTEMPTS"], "a") as file:
            file.write(f"{host}\n")
        raise OSError(f"the network is blocked in this test, {host} was asked for")


sys.addaudithook(_refuse)
