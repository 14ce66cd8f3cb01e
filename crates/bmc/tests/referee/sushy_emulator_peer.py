"""The emulator of sushy-tools on a port of its own, over plain HTTP.

    sushy_emulator_peer.py fake|libvirt FOLDER

Prints "PORT n" once it listens on 127.0.0.1, and serves until its standard input ends. What it
keeps, it keeps in FOLDER; users are those of the file `htpasswd` there, if there is one.
"""

import os
import sys
import threading
import types

from werkzeug.serving import make_server

URI = "test:///default"


def end_with_input():
    sys.stdin.read()
    os._exit(0)


def main():
    driver, folder = sys.argv[1:]
    settings = {"SUSHY_EMULATOR_STATE_DIR": folder}
    users = os.path.join(folder, "htpasswd")
    if os.path.exists(users):
        settings["SUSHY_EMULATOR_AUTH_FILE"] = users
    config = os.path.join(folder, "emulator.conf")
    with open(config, "w", encoding="utf-8") as file:
        file.writelines(f"{name} = {value!r}\n" for name, value in settings.items())
    # It reads its file while it is imported.
    os.environ["SUSHY_EMULATOR_CONFIG"] = config
    from sushy_tools.emulator import main as emulator

    app = emulator.app
    if driver == "fake":
        from sushy_tools.emulator.resources.systems import fakedriver

        # It takes any whole number of seconds from 1 to 11 for an action: always the shortest.
        fakedriver.random = types.SimpleNamespace(randint=lambda low, _: low)
        app.config["SUSHY_EMULATOR_FAKE_DRIVER"] = True
    else:
        import libvirt

        # The machine lives as long as somebody is connected to the test driver.
        app.machines = libvirt.open(URI)
        app.config["SUSHY_EMULATOR_LIBVIRT_URI"] = URI
    server = make_server("127.0.0.1", 0, app, threaded=True)
    print("PORT", server.server_port, flush=True)
    threading.Thread(target=end_with_input, daemon=True).start()
    server.serve_forever()


main()
