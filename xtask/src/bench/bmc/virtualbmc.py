"""VirtualBMC in front of the machine of libvirt's test driver: USER PASSWORD.

The machine lives as long as somebody is connected to the driver, and VirtualBMC connects for each
request anew: so this program stays connected. It serves until its standard input ends.
"""

import os
import sys
import threading

import libvirt
from pyghmi.ipmi.private import session
from virtualbmc.vbmc import VirtualBMC

URI = "test:///default"


def end_with_input():
    sys.stdin.read()
    os._exit(0)


user, password = sys.argv[1:]
machines = libvirt.open(URI)
bmc = VirtualBMC(
    username=user, password=password, port=0, address="127.0.0.1",
    domain_name="test", libvirt_uri=URI,
)
threading.Thread(target=end_with_input, daemon=True).start()
print("PORT", bmc.serversocket.getsockname()[1], flush=True)
while True:
    session.Session.wait_for_rsp(timeout=30)
