"""VirtualBMC in front of a machine of libvirt: of its test driver, or of another that is named.

    virtualbmc_peer.py USER PASSWORD [URI]

Prints "PORT n" once it listens on 127.0.0.1, and serves until its standard input ends. The machine
lives as long as somebody is connected to the test driver, and VirtualBMC connects for each request
anew: so this program stays connected. Another libvirt gets the machine defined; it stays off.
"""

import os
import socket
import sys
import threading

import libvirt
from pyghmi.ipmi.private import session as ipmi_session
from virtualbmc.vbmc import VirtualBMC

TEST_DRIVER = "test:///default"
MACHINE = """<domain type="qemu"><name>test</name><memory unit="MiB">64</memory>
<os><type arch="x86_64" machine="pc">hvm</type></os></domain>"""


def end_with_input():
    sys.stdin.read()
    os._exit(0)


def free_port():
    """VirtualBMC knows its sessions by the port that it was given: none is not possible."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def main():
    user, password = sys.argv[1:3]
    uri = sys.argv[3] if len(sys.argv) > 3 else TEST_DRIVER
    port = free_port()
    machines = libvirt.open(uri)
    if uri == TEST_DRIVER:
        assert machines.lookupByName("test").isActive(), "the test driver's machine runs at first"
    else:
        machines.defineXML(MACHINE)
    VirtualBMC(
        username=user, password=password, port=port, address="127.0.0.1",
        domain_name="test", libvirt_uri=uri,
    )
    print("PORT", port, flush=True)
    threading.Thread(target=end_with_input, daemon=True).start()
    while True:
        ipmi_session.Session.wait_for_rsp(timeout=30)


main()
