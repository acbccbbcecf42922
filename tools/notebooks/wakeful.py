"""Keep the client of a notebook's run from sleeping through a reply.

While a cell runs, nbclient sleeps until the kernel's shell socket wakes it. ZeroMQ wakes a sleeper
once for each change, through a file descriptor, and any use of the socket takes the wake-up.
nbclient itself makes such a use: when output goes into an Output widget, it writes the widget's new
state back over the same socket, with libzmq's own send, unknown to the asyncio socket. If the
cell's reply arrives just then, the send takes its wake-up, and the cell ends only with its timeout.

The remedy is to look after each write: reading EVENTS lets pyzmq see what has arrived and
schedule it. Only the client changes; kernels and notebooks stay as they are. See nbclient's issue
312 and jupyter_client's pull request 1059.

`stay_awake` does it for a process; pytest does it with ``-p notebooks.wakeful``.
"""

from typing import Any

import zmq
from jupyter_client.channels import AsyncZMQSocketChannel

send_only = AsyncZMQSocketChannel.send


def send_and_look(channel: AsyncZMQSocketChannel, message: dict[str, Any]) -> None:
    """Send a message to the kernel, then look whether one has come from it meanwhile."""
    send_only(channel, message)
    channel.socket.get(zmq.EVENTS)


def stay_awake() -> None:
    """Make every notebook client of this process look at its socket after each write."""
    AsyncZMQSocketChannel.send = send_and_look


def pytest_configure() -> None:
    """Do so in a test run that names this module as a plugin."""
    stay_awake()
