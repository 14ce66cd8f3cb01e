//! The schemas that the service uses: name and version of each, in one table.

/// Where the DMTF publishes schemas.
pub(super) const PUBLISHED: &str = "http://redfish.dmtf.org/schemas/v1";

/// Name, and version unless it is a collection.
pub(super) const SCHEMAS: &[(&str, &str)] = &[
    ("AccountService", "v1_15_0"),
    ("Chassis", "v1_25_0"),
    ("ChassisCollection", ""),
    ("ComputerSystem", "v1_22_0"),
    ("ComputerSystemCollection", ""),
    ("Drive", "v1_18_0"),
    ("EthernetInterface", "v1_12_0"),
    ("EthernetInterfaceCollection", ""),
    ("EventDestination", "v1_14_1"),
    ("EventDestinationCollection", ""),
    ("EventService", "v1_10_0"),
    ("JsonSchemaFile", "v1_1_5"),
    ("JsonSchemaFileCollection", ""),
    ("LogEntry", "v1_16_1"),
    ("LogEntryCollection", ""),
    ("LogService", "v1_7_0"),
    ("LogServiceCollection", ""),
    ("Manager", "v1_19_0"),
    ("ManagerAccount", "v1_12_0"),
    ("ManagerAccountCollection", ""),
    ("ManagerCollection", ""),
    ("ManagerNetworkProtocol", "v1_10_0"),
    ("Memory", "v1_19_0"),
    ("MemoryCollection", ""),
    ("MessageRegistryFile", "v1_1_5"),
    ("MessageRegistryFileCollection", ""),
    ("Power", "v1_7_3"),
    ("Processor", "v1_20_0"),
    ("ProcessorCollection", ""),
    ("Role", "v1_3_1"),
    ("RoleCollection", ""),
    ("SecureBoot", "v1_1_0"),
    ("Sensor", "v1_9_0"),
    ("SensorCollection", ""),
    ("ServiceRoot", "v1_17_0"),
    ("Session", "v1_7_1"),
    ("SessionCollection", ""),
    ("SessionService", "v1_1_9"),
    ("SimpleStorage", "v1_3_1"),
    ("SimpleStorageCollection", ""),
    ("SoftwareInventory", "v1_10_2"),
    ("SoftwareInventoryCollection", ""),
    ("Storage", "v1_17_0"),
    ("StorageCollection", ""),
    ("StorageController", "v1_8_0"),
    ("StorageControllerCollection", ""),
    ("Task", "v1_7_4"),
    ("TaskCollection", ""),
    ("TaskService", "v1_2_1"),
    ("Thermal", "v1_7_3"),
    ("UpdateService", "v1_14_1"),
    ("VirtualMedia", "v1_6_3"),
    ("VirtualMediaCollection", ""),
    ("Volume", "v1_9_0"),
    ("VolumeCollection", ""),
];

/// A schema's file name without its suffix: `Chassis.v1_25_0`, `ChassisCollection`.
pub(super) fn versioned(name: &str, version: &str) -> String {
    if version.is_empty() { name.to_owned() } else { format!("{name}.{version}") }
}

/// The `@odata.type` of a schema; a name that is not in the table is a bug that a test finds.
pub(super) fn odata_type(name: &str) -> String {
    let version = SCHEMAS.iter().find(|(other, _)| *other == name).map_or("", |(_, v)| v);
    format!("#{}.{name}", versioned(name, version))
}

/// The `Link` header that names the JSON schema of an `@odata.type`.
pub(super) fn described_by(odata_type: &str) -> Option<String> {
    let (file, _) = odata_type.strip_prefix('#')?.rsplit_once('.')?;
    Some(format!("<{PUBLISHED}/{file}.json>; rel=describedby"))
}

/// The OData metadata document (DSP0266, 8.4.1): references to the schemas above.
pub(super) fn metadata() -> String {
    let mut text = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<edmx:Edmx \
         xmlns:edmx=\"http://docs.oasis-open.org/odata/ns/edmx\" Version=\"4.0\">\n",
    );
    for (name, version) in SCHEMAS {
        text.push_str(&format!("  <edmx:Reference Uri=\"{PUBLISHED}/{name}_v1.xml\">\n"));
        text.push_str(&format!("    <edmx:Include Namespace=\"{name}\"/>\n"));
        if !version.is_empty() {
            text.push_str(&format!("    <edmx:Include Namespace=\"{name}.{version}\"/>\n"));
        }
        text.push_str("  </edmx:Reference>\n");
    }
    text.push_str(&format!(
        "  <edmx:Reference Uri=\"{PUBLISHED}/RedfishExtensions_v1.xml\">\n    <edmx:Include \
         Namespace=\"RedfishExtensions.v1_0_0\" Alias=\"Redfish\"/>\n  </edmx:Reference>\n"
    ));
    text.push_str(
        "  <edmx:DataServices>\n    <Schema xmlns=\"http://docs.oasis-open.org/odata/ns/edm\" \
         Namespace=\"Service\">\n      <EntityContainer Name=\"Service\" \
         Extends=\"ServiceRoot.v1_17_0.ServiceContainer\"/>\n    </Schema>\n  \
         </edmx:DataServices>\n</edmx:Edmx>\n",
    );
    text
}
