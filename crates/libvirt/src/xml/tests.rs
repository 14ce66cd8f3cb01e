//! Definitions as libvirt 9 prints them, and many that it never would.

use proptest::prelude::*;

use super::{
    ConsolePath, XmlError,
    boot::{self, Asked},
    console, inventory,
    media::{self, Inserted},
    order::{Order, Target},
    parse,
};

pub(crate) const DOMAIN: &str = "<domain type='qemu'>
  <name>web</name>
  <uuid>92dec48e-8b68-430a-bbbc-9f51ae184038</uuid>
  <description><![CDATA[<boot dev='network'/>]]></description>
  <memory unit='KiB'>2097152</memory>
  <vcpu placement='static' current='2'>4</vcpu>
  <os firmware='efi'>
    <type arch='x86_64' machine='pc-q35-7.2'>hvm</type>
    <firmware><feature enabled='yes' name='secure-boot'/></firmware>
    <boot dev='hd'/>
    <boot dev='network'/>
  </os>
  <cpu mode='host-passthrough' check='none'/>
  <devices>
    <disk type='file' device='disk'>
      <target dev='vda' bus='virtio'/>
      <serial>S1</serial>
    </disk>
    <disk type='file' device='cdrom'><target dev='sda' bus='sata'/></disk>
    <interface type='network'>
      <mac address='52:54:00:11:22:33'/>
      <source network='default'/>
    </interface>
    <serial type='pty'><source path='/dev/pts/7'/></serial>
  </devices>
</domain>
";

fn asked(target: Target) -> Asked {
    Asked { id: "a1".into(), target, efi: true, persistent: false }
}

fn order(text: &str) -> Order {
    Order::read(parse(text).expect("xml").root_element()).expect("order")
}

fn set(text: &str, target: Target) -> String {
    boot::set(text, Some(&asked(target))).expect("set").expect("changed")
}

/// The same domain with places in its devices instead of `<os>`.
fn by_device() -> String {
    DOMAIN
        .replace("    <boot dev='hd'/>\n    <boot dev='network'/>\n", "")
        .replace("<serial>S1</serial>", "<serial>S1</serial><boot order='7'/>")
        .replace("<mac address", "<boot order='9'/><mac address")
}

#[test]
fn a_device_comes_first_in_os_and_goes_back() {
    for (target, expected) in [
        (Target::Pxe, ["network", "hd"].as_slice()),
        (Target::Disk, ["hd", "network"].as_slice()),
        (Target::Cdrom, ["cdrom", "hd", "network"].as_slice()),
        (Target::Menu, ["hd", "network"].as_slice()),
    ] {
        let changed = set(DOMAIN, target);
        assert_eq!(order(&changed).os, expected);
        assert_eq!(boot::read(&changed).expect("read"), Some(asked(target)));
        let back = boot::set(&changed, None).expect("set").expect("changed");
        assert_eq!(order(&back), order(DOMAIN));
        assert_eq!(boot::read(&back).expect("read"), None);
    }
}

#[test]
fn a_device_comes_first_among_places_and_goes_back_to_its_own() {
    let text = by_device();
    for (target, expected) in [
        (Target::Pxe, vec![("disk/vda", 2), ("interface/52:54:00:11:22:33", 1)]),
        (Target::Disk, vec![("disk/vda", 1), ("interface/52:54:00:11:22:33", 2)]),
        (Target::Cdrom, vec![("disk/vda", 2), ("disk/sda", 1), ("interface/52:54:00:11:22:33", 3)]),
    ] {
        let changed = set(&text, target);
        let places = order(&changed).devices;
        let places: Vec<_> = places.iter().map(|(key, place)| (key.as_str(), *place)).collect();
        assert_eq!(places, expected);
        assert!(order(&changed).os.is_empty(), "never both");
        let back = boot::set(&changed, None).expect("set").expect("changed");
        assert_eq!(order(&back), order(&text));
    }
}

#[test]
fn the_menu_goes_back_to_what_it_was() {
    let text = DOMAIN.replace("  </os>", "    <bootmenu enable='yes' timeout='3000'/>\n  </os>");
    let changed = set(&text, Target::Menu);
    assert!(changed.contains("<bootmenu enable='yes' timeout='65535'/>"), "{changed}");
    let back = boot::set(&changed, None).expect("set").expect("changed");
    assert!(back.contains("<bootmenu enable='yes' timeout='3000'/>"), "{back}");
}

#[test]
fn the_old_order_survives_a_second_request() {
    let changed = set(&set(DOMAIN, Target::Pxe), Target::Cdrom);
    assert_eq!(order(&changed).os, ["cdrom", "hd", "network"]);
    let back = boot::set(&changed, None).expect("set").expect("changed");
    assert_eq!(order(&back), order(DOMAIN));
}

#[test]
fn an_order_that_somebody_edits_ends_what_was_asked_for() {
    let changed = set(DOMAIN, Target::Pxe);
    let edited = changed.replacen("<boot dev='network'/>", "<boot dev='fd'/>", 2);
    assert_ne!(edited, changed);
    assert_eq!(boot::read(&edited).expect("read"), None);
    let cleared = boot::set(&edited, None).expect("set").expect("the record goes");
    assert_eq!(order(&cleared), order(&edited), "theirs stays");
}

#[test]
fn what_the_domain_cannot_boot_from_is_refused() {
    let diskless = DOMAIN.replace("device='disk'", "device='floppy'");
    let kernel = DOMAIN.replace("<boot dev='hd'/>", "<kernel>/vmlinuz</kernel>");
    let s390 = DOMAIN.replace("<boot dev='hd'/>", "<boot dev='hd' loadparm='2'/>");
    for (text, target) in [(diskless, Target::Disk), (kernel, Target::Pxe), (s390, Target::Pxe)] {
        let refused = boot::set(&text, Some(&asked(target)));
        assert!(matches!(refused, Err(XmlError::CannotBoot { .. })), "{refused:?}");
    }
}

#[test]
fn a_boot_order_that_libvirt_cannot_have_is_refused() {
    for (old, new) in [("dev='hd'", "dev='=d'"), ("dev='hd'", "dev='h d'")] {
        let text = DOMAIN.replace(old, new);
        assert_ne!(text, DOMAIN);
        let refused = boot::set(&text, Some(&asked(Target::Pxe))).unwrap_err().to_string();
        assert!(refused.contains("change it with `virsh edit`"), "{refused}");
    }
}

#[test]
fn clearing_where_nothing_was_asked_for_changes_nothing() {
    assert_eq!(boot::set(DOMAIN, None).expect("set"), None);
}

#[test]
fn entities_of_ones_own_are_refused() {
    let bomb = format!("<!DOCTYPE d [<!ENTITY a 'aaaa'>]>{DOMAIN}");
    assert!(matches!(parse(&bomb), Err(XmlError::Syntax(_))));
    assert!(matches!(parse("<network/>"), Err(XmlError::Missing { .. })));
}

#[test]
fn the_inventory_is_the_definitions() {
    let sizes = inventory::capacities(" vda   1048576   0   1048576\n sda   -   -   -\n");
    let found = inventory::read(DOMAIN, &sizes).expect("inventory");
    assert_eq!((found.memory_mib, found.uefi, found.secure_boot), (2048, true, Some(true)));
    assert_eq!(
        (found.processors[0].cores, found.processors[0].model.as_str()),
        (2, "host-passthrough")
    );
    assert_eq!(found.nics[0].mac, [0x52, 0x54, 0, 0x11, 0x22, 0x33]);
    assert_eq!(found.drives.len(), 1, "a CD drive is no disk");
    assert_eq!(
        (found.drives[0].serial_number.as_str(), found.drives[0].capacity_bytes),
        ("S1", 1 << 20)
    );
    assert_eq!(found.serial_number, "92dec48e-8b68-430a-bbbc-9f51ae184038");
}

#[test]
fn the_console_is_the_first_line() {
    assert_eq!(console(DOMAIN).expect("xml"), Some(ConsolePath::Pty("/dev/pts/7".into())));
    let unix =
        DOMAIN.replace("<serial type='pty'><source ", "<serial type='unix'><source mode='bind' ");
    assert_eq!(console(&unix).expect("xml"), Some(ConsolePath::Socket("/dev/pts/7".into())));
    let none = DOMAIN.replace("<serial type='pty'>", "<serial type='null'>");
    assert_eq!(console(&none).expect("xml"), None);
}

/// All but the order and our record, without white space between elements.
fn the_rest(text: &str) -> Vec<String> {
    let document = parse(text).expect("xml");
    let ours = |node: &roxmltree::Node<'_, '_>| {
        node.ancestors().any(|a| matches!(a.tag_name().name(), "boot" | "bootmenu" | "metadata"))
    };
    let nodes = document.descendants().filter(|node| !ours(node));
    let line = |node: roxmltree::Node<'_, '_>| {
        let attributes = node.attributes().map(|a| format!("{}={}", a.name(), a.value()));
        let text = if node.is_text() || node.is_comment() { node.text() } else { None };
        let name = node.tag_name().name();
        let attributes = attributes.collect::<Vec<_>>().join(",");
        format!("{name} {attributes} {}", text.unwrap_or_default().trim())
    };
    nodes.map(line).filter(|line| !line.trim().is_empty()).collect()
}

fn device(class: u8, name: u8, place: Option<u8>, loose: bool) -> String {
    let boot = place.map(|place| format!("<boot order='{}'/>", u32::from(place) + 1));
    let boot = boot.unwrap_or_default();
    let gap = if loose { "\n  " } else { "" };
    match class {
        0 => format!(
            "<interface type='user'>{gap}<mac address='52:54:00:00:00:{name:02x}'/>{boot}{gap}</interface>"
        ),
        1 => format!("<disk device='disk'>{boot}{gap}<target dev='v{name}'/></disk>"),
        2 => format!("<disk device='cdrom'><target dev='s{name} &apos;&gt;'/>{gap}{boot}</disk>"),
        3 => format!("<hostdev>{boot}</hostdev>"),
        _ => "<controller type='usb' /><!-- <boot order='1'/> -->".to_owned(),
    }
}

prop_compose! {
    fn domains()(
        devices in prop::collection::vec((0u8..5, 0u8..4, prop::option::of(any::<u8>()), any::<bool>()), 0..8),
        os in prop::sample::subsequence(vec!["hd", "network", "cdrom", "fd"], 0..=4),
        menu in prop::sample::select(vec!["", "<bootmenu enable='no'/>", "<bootmenu enable='yes' timeout='5'/>"]),
        metadata in prop::sample::select(vec!["", "<metadata/>", "<metadata><a:b xmlns:a='urn:a'>x</a:b></metadata>"]),
    ) -> String {
        let placed = devices.iter().any(|(class, _, place, _)| *class < 4 && place.is_some());
        let os: String = if placed { String::new() } else {
            os.iter().map(|dev| format!("<boot dev='{dev}'/>\n")).collect()
        };
        let devices: String =
            devices.iter().map(|(class, name, place, loose)| device(*class, *name, *place, *loose)).collect();
        format!("<domain>{metadata}<os>\n <type>hvm</type>{os}{menu}</os><devices>{devices}</devices></domain>")
    }
}

fn targets() -> impl Strategy<Value = Target> {
    prop::sample::select(Target::ALL.to_vec())
}

fn image(of: &str) -> Inserted {
    Inserted { image: of.to_owned(), file: format!("/pool/{of}") }
}

#[test]
fn an_image_stands_in_the_definition_until_it_is_taken_out() {
    let empty = media::read(DOMAIN).expect("read").expect("a drive");
    assert_eq!((empty.target.as_str(), empty.inserted, empty.holds), ("sda", None, None));
    let full = media::set(DOMAIN, Some(&image("a"))).expect("set").expect("changed");
    assert!(full.contains("<target dev='sda' bus='sata'/>\n      <source file='/pool/a'/></disk>"));
    let other = media::set(&full, Some(&image("b"))).expect("set").expect("changed");
    assert!(!other.contains("/pool/a"), "{other}");
    // Somebody puts another one in.
    let theirs = other.replace("<source file='/pool/b'/>", "<source file='/theirs'/>");
    let drive = media::read(&theirs).expect("read").expect("a drive");
    assert_eq!((drive.inserted.as_ref(), drive.holds("/theirs")), (None, true));
    let refused = media::set(&theirs, Some(&image("c"))).expect_err("theirs");
    assert!(refused.to_string().contains("somebody else"), "{refused}");
    let left = media::set(&theirs, None).expect("set").expect("the record goes");
    assert!(left.contains("<source file='/theirs'/>") && !left.contains("media:1"));
    assert_eq!(media::set(&left, None).expect("set"), None);
    for (change, why) in [("device='disk'", "no CD drive"), ("device='cdrom' a=''", "for files")] {
        let text = DOMAIN.replace("type='file' device='cdrom'", &format!("type='block' {change}"));
        let refused = media::set(&text, Some(&image("a"))).expect_err(why);
        assert!(refused.to_string().contains(why), "{refused}");
    }
}

fn without_media(text: &str) -> Vec<String> {
    the_rest(text).into_iter().filter(|line| !line.starts_with("source ")).collect()
}

proptest! {
    #[test]
    fn an_image_is_read_back_and_taken_out_without_a_trace(text in domains(), url in "[!-~]{1,40}") {
        let text = text.replace("<disk device='cdrom'", "<disk type='file' device='cdrom'");
        let wanted = image(&url);
        let Ok(Some(full)) = media::set(&text, Some(&wanted)) else { return Ok(()) };
        let drive = media::read(&full).expect("read").expect("a drive");
        prop_assert_eq!(drive.inserted, Some(wanted));
        prop_assert_eq!(without_media(&full), the_rest(&text));
        let back = media::set(&full, None).expect("set").expect("changed");
        prop_assert_eq!(the_rest(&back), the_rest(&text));
        prop_assert_eq!(media::read(&back).expect("read").and_then(|drive| drive.holds), None);
    }

    #[test]
    fn what_is_set_is_read_back_and_cleared_without_a_trace(text in domains(), target in targets(), second in targets()) {
        let Ok(Some(changed)) = boot::set(&text, Some(&asked(target))) else { return Ok(()) };
        prop_assert_eq!(boot::read(&changed).expect("read"), Some(asked(target)));
        prop_assert_eq!(the_rest(&changed), the_rest(&text));
        let last = match boot::set(&changed, Some(&asked(second))) {
            Ok(Some(again)) => again,
            _ => changed,
        };
        let back = boot::set(&last, None).expect("set").expect("changed");
        prop_assert_eq!(boot::read(&back).expect("read"), None);
        prop_assert_eq!(order(&back), order(&text));
        prop_assert_eq!(the_rest(&back), the_rest(&text));
    }

    #[test]
    fn the_wanted_device_is_first(text in domains(), target in targets()) {
        let Ok(Some(changed)) = boot::set(&text, Some(&asked(target))) else { return Ok(()) };
        let (before, after) = (order(&text), order(&changed));
        let first = after.devices.iter().min_by_key(|(_, place)| *place).map(|(key, _)| key.as_str());
        match target {
            Target::Menu => prop_assert_eq!((&after.os, &after.devices), (&before.os, &before.devices)),
            Target::Pxe => prop_assert!(after.os.first().is_some_and(|d| d == "network")
                || first.is_some_and(|key| key.starts_with("interface"))),
            Target::Disk => prop_assert!(after.os.first().is_some_and(|d| d == "hd")
                || first.is_some_and(|key| key.starts_with("disk/v"))),
            Target::Cdrom => prop_assert!(after.os.first().is_some_and(|d| d == "cdrom")
                || first.is_some_and(|key| key.starts_with("disk/s"))),
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in ".{0,200}", target in targets()) {
        let text = format!("<domain><os>{text}</os></domain>");
        crate::fuzz::definition(text.as_bytes());
        let _any = boot::set(&text, Some(&asked(target)));
    }
}
