"""VirtualBMC in front of the machine of libvirt's test driver.

    virtualbmc_peer.py USER PASSWORD

Prints "PORT n" once it listens on 127.0.0.1, and serves until its standard input ends. The machine
lives as long as somebody is connected to the test driver, and VirtualBMC connects for each request
anew: so this program stays connected.
"""

import os
import socket
import sys
import threading

import libvirt
from pyghmi.ipmi.private import session as ipmi_session
from virtualbmc.vbmc import VirtualBMC

URI = "test:///default"


def end_with_input():
    sys.stdin.read()
    os._exit(0)


def free_port():
    """VirtualBMC knows its sessions by the port that it was given: none is not possible."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def main():
    user, password = sys.argv[1:]
    port = free_port()
    machines = libvirt.open(URI)
    assert machines.lookupByName("test").isActive(), "the test driver's machine runs at first"
    VirtualBMC(
        username=user, password=password, port=port, address="127.0.0.1",
        domain_name="test", libvirt_uri=URI,
    )
    print("PORT", port, flush=True)
    threading.Thread(target=end_with_input, daemon=True).start()
    while True:
        ipmi_session.Session.wait_for_rsp(timeout=30)


main()
