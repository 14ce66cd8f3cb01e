"""What a controller of ours shows to python-ipmi.

    python_ipmi_checks.py PORT USER PASSWORD

Its own way over the network is IPMI 1.5, which is refused; its messages go by `ipmitool -I
lanplus` then. One line for each check, "ok NAME" or "FAIL NAME: REASON"; ends with 1 if one fails.
"""

import sys

import pyipmi
import pyipmi.interfaces
from pyipmi import chassis

failed = False


def check(name, found, wanted=True):
    global failed
    if found == wanted:
        print("ok", name)
    else:
        failed = True
        print(f"FAIL {name}: {found!r}, not {wanted!r}")


def connect(interface, port, user, password):
    connection = pyipmi.create_connection(interface)
    connection.target = pyipmi.Target(ipmb_address=0x20)
    connection.session.set_session_type_rmcp("127.0.0.1", port=port)
    connection.session.set_auth_type_user(user, password)
    interface.open()
    connection.session.establish()
    return connection


def main():
    port, user, password = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    lanplus = pyipmi.interfaces.create_interface("ipmitool", interface_type="lanplus")
    bmc = connect(lanplus, port, user, password)
    for part in [identity, power, boot_device, sensors, events, inventory]:
        try:
            part(bmc)
        except Exception as error:  # noqa: BLE001: whatever it is, the check has failed
            check(part.__name__, repr(error), "no exception")
    try:
        old = pyipmi.interfaces.create_interface("rmcp", quirks_cfg={})
        connect(old, port, user, password)
        check("IPMI 1.5", "accepted", "refused")
    except Exception as error:  # noqa: BLE001: its kind is no part of python-ipmi's interface
        print("said of IPMI 1.5:", repr(error))
        check("IPMI 1.5 is refused", True)
    sys.exit(1 if failed else 0)


def identity(bmc):
    device = bmc.get_device_id()
    check("firmware", device.fw_revision.version_to_string(), "1.23")
    check("ipmi version", device.ipmi_version.version_to_string(), "2.0")


def power(bmc):
    for name, does, on in [
        ("up", bmc.chassis_control_power_up, True),
        ("cycle", bmc.chassis_control_power_cycle, True),
        ("reset", bmc.chassis_control_hard_reset, True),
        ("diagnostic interrupt", bmc.chassis_control_diagnostic_interrupt, True),
        ("soft shutdown", bmc.chassis_control_soft_shutdown, False),
        ("up again", bmc.chassis_control_power_up, True),
        ("down", bmc.chassis_control_power_down, False),
    ]:
        does()
        check(f"power {name}", bmc.get_chassis_status().power_on, on)


def boot_device(bmc):
    for device in ["PXE", "DEFAULT_HDD", "CD", "BIOS"]:
        device = getattr(chassis.BootDevice, device)
        for mode in ["legacy", "efi"]:
            for persistent in [False, True]:
                bmc.set_boot_options(device, mode, persistent)
                found = (bmc.get_boot_device(), bmc.get_boot_mode(), bmc.get_boot_persistency())
                check(f"boot {device} {mode} {persistent}", found, (device, mode, persistent))


def sensors(bmc):
    names = {}
    for record in bmc.sdr_repository_entries():
        name = getattr(record, "device_id_string", None)
        names[name if isinstance(name, str) else bytes(name).decode()] = record
    check("sensor records", "CPU Usage" in names and "BMC" in names)
    memory = names["Memory Usage"]
    raw, _ = bmc.get_sensor_reading(memory.number)
    check("memory usage", memory.convert_sensor_raw_to_value(raw), 50.0)


def events(bmc):
    entries = bmc.get_sel_entries()
    check("events of power", len(entries) >= 4)
    check("event's sensor", {entry.sensor_number for entry in entries}, {1})
    bmc.clear_sel()
    check("cleared", bmc.get_sel_entries_count(), 0)


def inventory(bmc):
    fru = bmc.get_fru_inventory()
    product, board = fru.product_info_area, fru.board_info_area
    check("product", str(product.manufacturer), "Maker")
    check("part", str(product.name), "Model 1")
    check("serial", str(product.serial_number), "S-0001")
    check("board", str(board.manufacturer), "Maker")


main()
