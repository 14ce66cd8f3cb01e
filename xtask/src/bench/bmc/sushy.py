"""The emulator of sushy-tools with its fake driver: plain|tls FOLDER.

It serves as its own main program does, without users, and with TLS 1.2 where it has a certificate;
that one is for P-256, as ours is. It ends with its standard input.
"""

import datetime
import logging
import os
import ssl
import sys
import threading

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sushy_tools.emulator import main as emulator
from werkzeug.serving import make_server


def end_with_input():
    sys.stdin.read()
    os._exit(0)


def certificate(folder):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime(2020, 1, 1)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name)
        .public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now).not_valid_after(now + datetime.timedelta(days=36500))
        .sign(key, hashes.SHA256())
    )
    path = os.path.join(folder, "certificate.pem")
    with open(path, "wb") as file:
        file.write(key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ))
        file.write(made.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLSv1_2)
    context.load_cert_chain(path)
    return context


logging.getLogger("werkzeug").setLevel(logging.ERROR)
kind, folder = sys.argv[1:]
app = emulator.app
app.config["SUSHY_EMULATOR_STATE_DIR"] = folder
app.config["SUSHY_EMULATOR_FAKE_DRIVER"] = True
context = certificate(folder) if kind == "tls" else None
server = make_server("127.0.0.1", 0, app, threaded=True, ssl_context=context)
machines = app.systems.systems
threading.Thread(target=end_with_input, daemon=True).start()
print("PORT", server.server_port, machines[0], flush=True)
server.serve_forever()
