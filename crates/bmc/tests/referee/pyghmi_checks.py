"""What a controller of ours shows to pyghmi.

    pyghmi_checks.py PORT USER PASSWORD

One line for each check, "ok NAME" or "FAIL NAME: REASON"; ends with 1 if one fails. It is slow of
itself: its thread often sees an answer that came at once only when its own time-out of half a
second or more is over.
"""

import sys

from pyghmi import exceptions
from pyghmi.ipmi import command

failed = False


def check(name, found, wanted=True):
    global failed
    if found == wanted:
        print("ok", name)
    else:
        failed = True
        print(f"FAIL {name}: {found!r}, not {wanted!r}")


def power(bmc):
    for verb, state in [("on", "on"), ("boot", "on"), ("reset", "on"), ("off", "off")]:
        bmc.set_power(verb, wait=30)
        check(f"power {verb}", bmc.get_power(), {"powerstate": state})
    # pyghmi's "boot" switches on what is off.
    bmc.set_power("boot", wait=30)
    check("power boot when off", bmc.get_power(), {"powerstate": "on"})
    bmc.set_power("shutdown", wait=30)
    check("power shutdown", bmc.get_power(), {"powerstate": "off"})


def boot_device(bmc):
    for device in ["network", "hd", "safe", "optical", "setup", "floppy"]:
        for persist, uefi in [(False, True), (True, False)]:
            bmc.set_bootdev(device, persist=persist, uefiboot=uefi)
            found = bmc.get_bootdev()
            found = (found["bootdev"], found["persistent"], found["uefimode"])
            check(f"boot {device} {persist} {uefi}", found, (device, persist, uefi))
    bmc.set_bootdev("default")
    check("boot default", bmc.get_bootdev()["bootdev"], "default")


def sensors(bmc):
    readings = {reading.name: reading for reading in bmc.get_sensor_data()}
    check("sensors", sorted(readings), sorted([
        "CPU Usage", "Disk Read", "Disk Write", "Memory Usage", "NIC Receive", "NIC Send",
        "Power On Days", "Power State",
    ]))
    check("memory usage", readings["Memory Usage"].value, 50.0)
    check("memory usage, unit", readings["Memory Usage"].units.strip(), "%")
    check("power state", readings["Power State"].states != [])
    check("health", bmc.get_health()["health"], 0)


def events(bmc):
    found = list(bmc.get_event_log())
    check("events of power", len(found) >= 4)
    check("event's sensor", {event["component"] for event in found}, {"Power State"})
    check("event's time", all(event["timestamp"] for event in found))
    list(bmc.get_event_log(clear=True))
    check("cleared", len(list(bmc.get_event_log())), 0)


def inventory(bmc):
    check("components", list(bmc.get_inventory_descriptions()), ["System"])
    found = bmc.get_inventory_of_component("System")
    for name, value in [
        ("Manufacturer", "Maker"), ("Product name", "Model 1"), ("Serial Number", "S-0001"),
        ("Asset Number", "Rack 7"), ("Board manufacturer", "Maker"),
    ]:
        check(f"inventory, {name}", found.get(name), value)


def refusals(port, user, password):
    for name, (a_user, a_password) in {
        "wrong password": (user, "not-the-password"), "unknown user": ("nobody", password),
    }.items():
        try:
            command.Command(bmc="127.0.0.1", userid=a_user, password=a_password, port=port)
            check(name, "accepted", "refused")
        except exceptions.IpmiException as error:
            words = str(error)
            refused = "Incorrect password" in words or "Unauthorized" in words
            check(name, refused or words)


def main():
    port, user, password = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    bmc = command.Command(bmc="127.0.0.1", userid=user, password=password, port=port)
    for part in [power, boot_device, sensors, events, inventory]:
        try:
            part(bmc)
        except Exception as error:  # noqa: BLE001: whatever it is, the check has failed
            check(part.__name__, repr(error), "no exception")
    bmc.ipmi_session.logout()
    refusals(port, user, password)
    sys.exit(1 if failed else 0)


main()
