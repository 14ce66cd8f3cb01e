//! What a domain is made of.

use roxmltree::Node;
use undercloud_bmc::machine::inventory::{Drive, Inventory, Nic, Processor};

use super::{DeviceClass, XmlError, child, class, devices, parse};

/// Most processors of a domain that are believed.
const CPUS_MAX: u32 = 8192;

/// The inventory that a definition gives; `capacities` are the disks' sizes by name.
pub(crate) fn read(text: &str, capacities: &[(String, u64)]) -> Result<Inventory, XmlError> {
    let document = parse(text)?;
    let domain = document.root_element();
    let os = child(domain, "os").ok_or(XmlError::Missing { element: "os" })?;
    let machine = child(os, "type").and_then(|kind| kind.attribute("machine")).unwrap_or_default();
    let uuid = child(domain, "uuid").map(words).unwrap_or_default();
    let system = |entry| smbios(domain, "system", entry);
    let uefi = is_uefi(os);
    let cpus = child(domain, "vcpu").map_or(1, vcpus);
    let bios = smbios(domain, "bios", "version");
    Ok(Inventory {
        manufacturer: system("manufacturer").unwrap_or_else(|| "QEMU".to_owned()),
        model: system("product").unwrap_or_else(|| machine.to_owned()),
        serial_number: system("serial").unwrap_or(uuid),
        asset_tag: child(domain, "title").map(words).unwrap_or_default(),
        firmware_version: bios.unwrap_or_else(|| if uefi { "UEFI" } else { "BIOS" }.to_owned()),
        uefi,
        secure_boot: secure_boot(os),
        processors: vec![Processor { model: cpu(domain), cores: cpus, threads: cpus }],
        memory_mib: child(domain, "memory").map_or(0, bytes) >> 20,
        nics: devices(domain)
            .filter(|device| class(*device) == DeviceClass::Network)
            .enumerate()
            .filter_map(nic)
            .collect(),
        drives: devices(domain)
            .filter(|device| class(*device) == DeviceClass::Disk)
            .filter_map(|device| drive(device, capacities))
            .collect(),
    })
}

/// `virsh domblkinfo --all`: a line for each disk, its name and its size first.
pub(crate) fn capacities(text: &str) -> Vec<(String, u64)> {
    let line = |line: &str| {
        let mut columns = line.split_ascii_whitespace();
        Some((columns.next()?.to_owned(), columns.next()?.parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

fn words(node: Node<'_, '_>) -> String {
    let text = node.text().unwrap_or_default().trim();
    text.chars().filter(|c| !c.is_control()).take(128).collect()
}

fn smbios(domain: Node<'_, '_>, block: &str, entry: &str) -> Option<String> {
    let sysinfo = domain
        .children()
        .find(|node| node.has_tag_name("sysinfo") && node.attribute("type") == Some("smbios"))?;
    let mut entries = child(sysinfo, block)?.children();
    entries.find(|node| node.attribute("name") == Some(entry)).map(words)
}

fn is_uefi(os: Node<'_, '_>) -> bool {
    let pflash = |loader: Node<'_, '_>| loader.attribute("type") == Some("pflash");
    os.attribute("firmware") == Some("efi") || child(os, "loader").is_some_and(pflash)
}

fn secure_boot(os: Node<'_, '_>) -> Option<bool> {
    let mut features = child(os, "firmware")?.children();
    let feature = features.find(|node| node.attribute("name") == Some("secure-boot"))?;
    Some(feature.attribute("enabled") == Some("yes"))
}

fn cpu(domain: Node<'_, '_>) -> String {
    let cpu = child(domain, "cpu");
    let model = cpu.and_then(|cpu| child(cpu, "model")).map(words);
    let mode = cpu.and_then(|cpu| cpu.attribute("mode")).map(str::to_owned);
    model.or(mode).unwrap_or_else(|| "QEMU".to_owned())
}

fn vcpus(vcpu: Node<'_, '_>) -> u32 {
    let text = vcpu.attribute("current").or(vcpu.text()).unwrap_or_default();
    text.trim().parse().unwrap_or(1).clamp(1, CPUS_MAX)
}

/// libvirt's scaled integers; it gives back KiB, whatever was defined.
fn bytes(node: Node<'_, '_>) -> u64 {
    let count: u64 = node.text().unwrap_or_default().trim().parse().unwrap_or_default();
    let unit = match node.attribute("unit").unwrap_or("KiB") {
        "b" | "bytes" => 1,
        "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        "T" | "TiB" => 1 << 40,
        _ => 1 << 10,
    };
    count.saturating_mul(unit)
}

fn nic((index, device): (usize, Node<'_, '_>)) -> Option<Nic> {
    let address = child(device, "mac")?.attribute("address")?;
    let mut mac = [0; 6];
    let mut octets = address.split(':');
    for octet in &mut mac {
        *octet = u8::from_str_radix(octets.next()?, 16).ok()?;
    }
    let source = child(device, "source")
        .and_then(|source| source.attribute("network").or_else(|| source.attribute("bridge")));
    let name = source.map_or_else(|| format!("nic{index}"), |net| format!("nic{index}-{net}"));
    Some(Nic { name, mac, speed_mbps: None })
}

fn drive(device: Node<'_, '_>, capacities: &[(String, u64)]) -> Option<Drive> {
    let target = child(device, "target")?;
    let name = target.attribute("dev")?.to_owned();
    let capacity = capacities.iter().find(|(other, _)| *other == name).map(|(_, bytes)| *bytes);
    Some(Drive {
        serial_number: child(device, "serial").map(words).unwrap_or_default(),
        model: target.attribute("bus").unwrap_or("disk").to_owned(),
        capacity_bytes: capacity.unwrap_or_default(),
        name,
    })
}
