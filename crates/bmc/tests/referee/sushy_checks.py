"""What OpenStack's own Redfish library makes of the service. One line per check; exit status 1
when one failed. Usage: sushy_checks.py ROOT-URL USER PASSWORD SYSTEM"""
import sys
import time

import sushy
from sushy import exceptions

root, user, password, name = sys.argv[1:5]
path = f"/redfish/v1/Systems/{name}"
failed = 0


def check(what, good):
    global failed
    failed += not good
    print(("ok   " if good else "FAIL ") + what)


def connect(auth):
    return sushy.Sushy(root, verify=False, auth=auth)


def until(what, good, seconds=10):
    end = time.monotonic() + seconds
    while not good() and time.monotonic() < end:
        time.sleep(0.05)
    check(what, good())


for kind in (sushy.auth.BasicAuth, sushy.auth.SessionAuth, sushy.auth.SessionOrBasicAuth):
    conn = connect(kind(user, password))
    check(f"{kind.__name__} reads the system", conn.get_system(path).identity == name)
try:
    connect(sushy.auth.SessionAuth(user, password + "x"))
    check("a wrong password is refused", False)
except exceptions.AccessError:
    check("a wrong password is refused", True)

conn = connect(sushy.auth.SessionOrBasicAuth(user, password))
system = conn.get_system(path)


def fresh():
    system.invalidate(force_refresh=False)
    system.refresh()
    return system


def power():
    return fresh().power_state


# Power: every type, and what it does.
for kind, state in [
    (sushy.RESET_TYPE_ON, sushy.POWER_STATE_ON),
    (sushy.RESET_TYPE_FORCE_RESTART, sushy.POWER_STATE_ON),
    (sushy.RESET_TYPE_POWER_CYCLE, sushy.POWER_STATE_ON),
    (sushy.RESET_TYPE_NMI, sushy.POWER_STATE_ON),
    (sushy.RESET_TYPE_GRACEFUL_RESTART, sushy.POWER_STATE_ON),
    (sushy.RESET_TYPE_GRACEFUL_SHUTDOWN, sushy.POWER_STATE_OFF),
    (sushy.RESET_TYPE_FORCE_ON, sushy.POWER_STATE_ON),
    (sushy.RESET_TYPE_FORCE_OFF, sushy.POWER_STATE_OFF),
    (sushy.RESET_TYPE_PUSH_POWER_BUTTON, sushy.POWER_STATE_ON),
    (sushy.RESET_TYPE_PUSH_POWER_BUTTON, sushy.POWER_STATE_OFF),
]:
    system.reset_system(kind)
    until(f"{kind} leads to {state}", lambda: power() == state)
check("all types are advertised", len(fresh().get_allowed_reset_system_values()) == 9)
try:
    system.reset_system(sushy.RESET_TYPE_NMI)
    check("an interrupt is refused while it is off", False)
except exceptions.HTTPError as error:
    check("an interrupt is refused while it is off", error.status_code == 409)

# Boot override: read back, used up once, and for good.
for mode in (sushy.BOOT_SOURCE_MODE_BIOS, sushy.BOOT_SOURCE_MODE_UEFI):
    for target in (
        sushy.BOOT_SOURCE_TARGET_PXE,
        sushy.BOOT_SOURCE_TARGET_HDD,
        sushy.BOOT_SOURCE_TARGET_CD,
        sushy.BOOT_SOURCE_TARGET_USB,
        sushy.BOOT_SOURCE_TARGET_BIOS_SETUP,
    ):
        for enabled in (sushy.BOOT_SOURCE_ENABLED_ONCE, sushy.BOOT_SOURCE_ENABLED_CONTINUOUS):
            fresh().set_system_boot_options(target=target, enabled=enabled, mode=mode)
            boot = fresh().boot
            check(
                f"{target} {enabled} {mode} is read back",
                (boot.target, boot.enabled, boot.mode) == (target, enabled, mode),
            )
fresh().set_system_boot_options(
    target=sushy.BOOT_SOURCE_TARGET_PXE, enabled=sushy.BOOT_SOURCE_ENABLED_ONCE
)
system.reset_system(sushy.RESET_TYPE_ON)
until("once is once", lambda: fresh().boot.enabled == sushy.BOOT_SOURCE_ENABLED_DISABLED)
fresh().set_system_boot_options(
    target=sushy.BOOT_SOURCE_TARGET_CD, enabled=sushy.BOOT_SOURCE_ENABLED_CONTINUOUS
)
system.reset_system(sushy.RESET_TYPE_FORCE_RESTART)
check("for good is for good", fresh().boot.enabled == sushy.BOOT_SOURCE_ENABLED_CONTINUOUS)
fresh().set_system_boot_options(enabled=sushy.BOOT_SOURCE_ENABLED_DISABLED)
check("an override is taken away", fresh().boot.enabled == sushy.BOOT_SOURCE_ENABLED_DISABLED)

# Inventory.
check("manufacturer, model, serial", all((system.manufacturer, system.model, system.serial_number)))
check("memory", system.memory_summary.size_gib == 4)
check("processors", [p.total_threads for p in system.processors.get_members()] == [4])
check("processor summary", system.processors.summary.count == 4)
macs = system.ethernet_interfaces.get_members()
check("interfaces", [m.mac_address for m in macs] == ["52:54:00:00:01:01"])
drives = system.storage.get_members()[0].drives
check("drives", [d.capacity_bytes for d in drives] == [20 << 30])
check("largest disk", system.simple_storage.max_size_bytes == 20 << 30)
check("secure boot", system.secure_boot.enabled is False)
check("chassis", [c.identity for c in system.chassis] == [name])
check("managers", [m.identity for m in system.managers] == [name])
check("manager's firmware", system.managers[0].firmware_version == "1.23")
check("thermal", system.chassis[0].thermal.temperatures == [])

# Virtual media, from either end.
for owner in (system, system.managers[0]):
    media = {m.identity: m for m in owner.virtual_media.get_members()}
    check("two drives", sorted(media) == ["Cd", "UsbStick"])
    for slot in media.values():
        slot.insert_media("https://images.example/a.iso", inserted=True, write_protected=True)
        slot.invalidate()
        slot.refresh()
        check(f"{slot.identity} is in", slot.inserted and slot.image.endswith("/a.iso"))
        try:
            slot.insert_media("https://images.example/b.iso")
            check("a full drive takes no other", False)
        except exceptions.HTTPError as error:
            check("a full drive takes no other", error.status_code == 409)
        slot.eject_media()
        slot.invalidate()
        slot.refresh()
        check(f"{slot.identity} is out", not slot.inserted)

# Services.
check("tasks", conn.get_task_service().tasks is not None)
check("updates", len(conn.get_update_service().firmware_inventory.get_members()) == 1)
events = conn.get_event_service()
subscription = events.subscriptions.create(
    {"Destination": "http://127.0.0.1:9/events", "Protocol": "Redfish", "Context": "sushy"}
)
check("a subscription is made", "/Subscriptions/" in str(getattr(subscription, "path", subscription)))
sessions = conn.get_session_service()
check("a session is listed", len(sessions.sessions.get_members()) >= 1)

sys.exit(1 if failed else 0)
