//! The words for what sensors watch and for what happens to them (tables 42-1 to 42-3).

/// What kinds of sensors watch, by number (table 42-3).
const TYPES: [&str; 45] = [
    "Reserved",
    "Temperature",
    "Voltage",
    "Current",
    "Fan",
    "Physical Security",
    "Platform Security",
    "Processor",
    "Power Supply",
    "Power Unit",
    "Cooling Device",
    "Other Units-based Sensor",
    "Memory",
    "Drive Slot",
    "POST Memory Resize",
    "System Firmware Progress",
    "Event Logging Disabled",
    "Watchdog 1",
    "System Event",
    "Critical Interrupt",
    "Button",
    "Module or Board",
    "Microcontroller",
    "Add-in Card",
    "Chassis",
    "Chip Set",
    "Other FRU",
    "Cable",
    "Terminator",
    "System Boot Initiated",
    "Boot Error",
    "OS Boot",
    "OS Stop",
    "Slot or Connector",
    "System ACPI Power State",
    "Watchdog 2",
    "Platform Alert",
    "Entity Presence",
    "Monitor ASIC",
    "LAN",
    "Management Subsystem Health",
    "Battery",
    "Session Audit",
    "Version Change",
    "FRU State",
];

/// The states of generic event types 1 to 12, each from offset 0 (table 42-2).
const GENERIC: [&[&str]; 12] = [
    &[
        "Lower Non-critical going low",
        "Lower Non-critical going high",
        "Lower Critical going low",
        "Lower Critical going high",
        "Lower Non-recoverable going low",
        "Lower Non-recoverable going high",
        "Upper Non-critical going low",
        "Upper Non-critical going high",
        "Upper Critical going low",
        "Upper Critical going high",
        "Upper Non-recoverable going low",
        "Upper Non-recoverable going high",
    ],
    &["Transition to Idle", "Transition to Active", "Transition to Busy"],
    &["State Deasserted", "State Asserted"],
    &["Predictive Failure deasserted", "Predictive Failure asserted"],
    &["Limit Not Exceeded", "Limit Exceeded"],
    &["Performance Met", "Performance Lags"],
    &[
        "Transition to OK",
        "Transition to Non-critical from OK",
        "Transition to Critical from less severe",
        "Transition to Non-recoverable from less severe",
        "Transition to Non-critical from more severe",
        "Transition to Critical from Non-recoverable",
        "Transition to Non-recoverable",
        "Monitor",
        "Informational",
    ],
    &["Device Removed", "Device Inserted"],
    &["Device Disabled", "Device Enabled"],
    &[
        "Transition to Running",
        "Transition to In Test",
        "Transition to Power Off",
        "Transition to On Line",
        "Transition to Off Line",
        "Transition to Off Duty",
        "Transition to Degraded",
        "Transition to Power Save",
        "Install Error",
    ],
    &["Fully Redundant", "Redundancy Lost", "Redundancy Degraded"],
    &["D0 Power State", "D1 Power State", "D2 Power State", "D3 Power State"],
];

/// The states of a type's own (event type 0x6f), for the types that operators meet.
const SPECIFIC: &[(u8, &[&str])] = &[
    (0x05, &["General Chassis Intrusion", "Drive Bay Intrusion", "I/O Card Intrusion"]),
    (
        0x07,
        &[
            "IERR",
            "Thermal Trip",
            "FRB1/BIST failure",
            "FRB2/Hang in POST",
            "FRB3/Processor Startup failure",
            "Configuration Error",
            "Uncorrectable machine check",
            "Presence detected",
            "Disabled",
            "Terminator presence detected",
            "Throttled",
        ],
    ),
    (
        0x08,
        &[
            "Presence detected",
            "Failure detected",
            "Predictive failure",
            "Input lost",
            "Input lost or out of range",
            "Input out of range",
            "Configuration error",
        ],
    ),
    (
        0x09,
        &[
            "Power off",
            "Power cycle",
            "240 VA power down",
            "Interlock power down",
            "AC lost",
            "Soft-power control failure",
            "Failure detected",
            "Predictive failure",
        ],
    ),
    (
        0x0c,
        &[
            "Correctable ECC",
            "Uncorrectable ECC",
            "Parity",
            "Memory Scrub Failed",
            "Memory Device Disabled",
            "Correctable ECC logging limit reached",
            "Presence detected",
            "Configuration error",
            "Spare",
            "Throttled",
            "Critical overtemperature",
        ],
    ),
    (
        0x0d,
        &[
            "Drive Present",
            "Drive Fault",
            "Predictive Failure",
            "Hot Spare",
            "Parity Check In Progress",
            "In Critical Array",
            "In Failed Array",
            "Rebuild In Progress",
            "Rebuild Aborted",
        ],
    ),
    (
        0x10,
        &[
            "Correctable memory error logging disabled",
            "Event logging disabled",
            "Log area reset/cleared",
            "All event logging disabled",
            "Log full",
            "Log almost full",
        ],
    ),
    (0x14, &["Power Button pressed", "Sleep Button pressed", "Reset Button pressed"]),
    (
        0x22,
        &[
            "S0/G0: working",
            "S1: sleeping",
            "S2: sleeping",
            "S3: sleeping",
            "S4: suspended to disk",
            "S5/G2: soft off",
            "S4/S5: soft off",
            "G3: mechanical off",
            "Sleeping",
            "G1: sleeping",
            "S5: entered by override",
            "Legacy ON state",
            "Legacy OFF state",
            "Unknown",
        ],
    ),
    (0x23, &["Timer expired", "Hard reset", "Power down", "Power cycle"]),
    (0x25, &["Present", "Absent", "Disabled"]),
    (0x29, &["Low", "Failed", "Presence detected"]),
];

/// Event type: thresholds.
pub const THRESHOLD: u8 = 0x01;
/// Event type: the sensor type's own states.
pub const SPECIFIC_STATES: u8 = 0x6f;

/// What sensors of this type watch.
#[must_use]
pub fn name(kind: u8) -> &'static str {
    let maker = if kind >= 0xc0 { "OEM" } else { "Reserved" };
    TYPES.get(usize::from(kind)).copied().unwrap_or(maker)
}

/// What it means that this state holds, or has been entered.
#[must_use]
pub fn state(kind: u8, event_type: u8, offset: u8) -> Option<&'static str> {
    let states = match event_type {
        1..=12 => GENERIC.get(usize::from(event_type) - 1).copied(),
        SPECIFIC_STATES => SPECIFIC.iter().find(|row| row.0 == kind).map(|row| row.1),
        _ => None,
    };
    states.and_then(|states| states.get(usize::from(offset)).copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_where_the_specification_has_them() {
        assert_eq!((name(0x01), name(0x2c)), ("Temperature", "FRU State"));
        assert_eq!(
            (name(0x22), name(0xc0), name(0x80)),
            ("System ACPI Power State", "OEM", "Reserved")
        );
        assert_eq!(state(0x01, 0x01, 9), Some("Upper Critical going high"));
        assert_eq!(state(0x22, SPECIFIC_STATES, 5), Some("S5/G2: soft off"));
        assert_eq!(state(0x08, 0x0b, 1), Some("Redundancy Lost"));
        assert_eq!((state(0xc0, SPECIFIC_STATES, 0), state(0x01, 0x01, 15)), (None, None));
    }
}
