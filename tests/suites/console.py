#!/usr/bin/env python3
"""Opens a server's console as noVNC does: console.py URL CA-FILE.

The page has to be noVNC's; the WebSocket behind it (RFC 6455) has to greet with a version of the
RFB protocol (RFC 6143, section 7.1.1), which comes from the machine's QEMU."""

import base64
import os
import ssl
import socket
import sys
import urllib.parse
import urllib.request

url, ca = sys.argv[1:]
trust = ssl.create_default_context(cafile=ca)

with urllib.request.urlopen(url, context=trust, timeout=60) as page:
    if b"noVNC" not in page.read():
        sys.exit("the console's page is not noVNC")

parts = urllib.parse.urlsplit(url)
path = urllib.parse.parse_qs(parts.query)["path"][0]
key = base64.b64encode(os.urandom(16)).decode()
request = (
    f"GET /{path} HTTP/1.1\r\nHost: {parts.netloc}\r\nOrigin: {parts.scheme}://{parts.netloc}\r\n"
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    f"Sec-WebSocket-Protocol: binary\r\nSec-WebSocket-Key: {key}\r\n\r\n"
)
plain = socket.create_connection((parts.hostname, parts.port), timeout=60)
with trust.wrap_socket(plain, server_hostname=parts.hostname) as connection:
    connection.sendall(request.encode())
    stream = connection.makefile("rb")
    status = stream.readline()
    if b" 101 " not in status:
        sys.exit(f"the console's WebSocket was refused: {status.decode().strip()}")
    while stream.readline().strip():
        pass
    head = stream.read(2)
    greeting = stream.read(head[1] & 0x7F)
    if not greeting.startswith(b"RFB 003."):
        sys.exit(f"the console does not greet: {greeting!r}")
print(f"the console greets: {greeting.decode().strip()}")
