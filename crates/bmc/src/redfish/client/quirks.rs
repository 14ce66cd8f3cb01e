//! Where services leave the specification, as rows of data with where each is known from.
//!
//! What a service can be asked about is no row: that settings have a resource of their own, for
//! some properties or all ([`split`]), is read from it.

use serde_json::{Map, Value, json};

/// Who made a service and its machine, in their own words, as far as they say.
#[derive(Debug, Default)]
pub(super) struct Maker {
    names: String,
    model: String,
}

/// In small letters, with single spaces in place of punctuation, and one at each end.
fn words(text: &str) -> String {
    let apart = |c: char| !c.is_alphanumeric() && c != '_' && c != '-';
    let words = text.split(apart).filter(|word| !word.is_empty());
    words.fold(" ".to_owned(), |all, word| all + &word.to_lowercase() + " ")
}

impl Maker {
    /// `Vendor` of the service's root, `Manufacturer` and `Model` of the system.
    pub(super) fn of(root: &Value, system: &Value) -> Self {
        let text = |value: &Value| words(value.as_str().unwrap_or_default());
        let names = text(&root["Vendor"]) + &text(&system["Manufacturer"]);
        Self { names, model: text(&system["Model"]) }
    }

    fn is(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.names.contains(&words(name)))
    }

    fn is_model(&self, models: &[&str]) -> bool {
        models.iter().any(|model| self.model.contains(&words(model)))
    }
}

/// A maker that wants another boot target than the specification's, where it is offered.
struct TargetRow {
    makers: &'static [&'static str],
    except_models: &'static [&'static str],
    meant: &'static str,
    said: &'static str,
}

const TARGETS: &[TargetRow] = &[
    // Virtual media are a USB drive; from "Cd" nothing starts, though it is offered, but on one
    // model. sushy: resources/system/system.py, `set_system_boot_options`.
    TargetRow {
        makers: &["supermicro"],
        except_models: &["ars-111gl-nhr"],
        meant: "Cd",
        said: "UsbCd",
    },
];

/// Makers whose boot override is device, duration and mode at once, also where one of them stays.
const WHOLE_OVERRIDE: &[&str] = &[
    // Falls back to its default mode where none is named. DMTF/Redfishtool, pull request 106;
    // Ironic's story 2008712.
    "supermicro",
    // Ironic: drivers/modules/redfish/management.py, `VENDORS_REQUIRING_FULL_BOOT_REQUEST`.
    "american megatrends",
    "ami",
    "asrockrack",
    "redfish_compatible",
];

/// Messages by which a service says "not now" with a status that says "never".
const BUSY: &[(&str, &str)] = &[
    // HPE, while the machine starts. Ironic: management.py, `_is_during_post_error`.
    ("", "UnableToModifyDuringSystemPOST"),
    // HPE and Dell, after the operation before. sushy: connector.py, `check_retry_on_exception`.
    ("ilo.", "InvalidOperationForSystemState"),
    ("", "SYS518"),
    // Dell, while the controller itself starts: "iDRAC is not ready. The configuration values cannot be
    // accessed. Please retry after a few minutes." (Event and Error Message Reference Guide, SWC0700.)
    ("", "SWC0700"),
    // All sessions are taken: Dell's RAC0218, and the specification's two messages (DSP2065).
    ("", "RAC0218"),
    ("", "SessionLimitExceeded"),
    ("", "CreateLimitReachedForResource"),
    // The specification's words for "not now" (DSP2065).
    ("", "ServiceTemporarilyUnavailable"),
    ("", "ServiceShuttingDown"),
    ("", "ResourceInStandby"),
];

/// Messages by which a service says "you may not" with a status that says something else (DSP2065).
const DENIED: &[&str] = &["InsufficientPrivilege", "ResourceAtUriUnauthorized"];

/// What to say for an image at this address.
type Say = fn(&str) -> Value;

/// Parameters of InsertMedia that are optional by its schema and that some want, and what to say
/// then. sushy: resources/manager/virtual_media.py, `insert_media`.
const WANTED_BY_SOME: &[(&str, Say)] = &[
    ("TransferProtocolType", protocol),
    ("TransferMethod", |_| json!("Stream")),
    // NVIDIA DGX; an image that needs none is had with any (Ironic's bug 2071945).
    ("UserName", |_| json!("none")),
    ("Password", |_| json!("none")),
];

fn protocol(image: &str) -> Value {
    json!(if image.starts_with("https:") { "HTTPS" } else { "HTTP" })
}

/// How to name this target to this maker's service, which offers these.
pub(super) fn target(maker: &Maker, meant: &'static str, offered: &Value) -> &'static str {
    let offers = |said: &str| offered.as_array().is_some_and(|all| all.iter().any(|it| it == said));
    let mut rows = TARGETS.iter().filter(|row| row.meant == meant && offers(row.said));
    let row = rows.find(|row| maker.is(row.makers) && !maker.is_model(row.except_models));
    row.map_or(meant, |row| row.said)
}

/// Whether a boot override has to name everything.
pub(super) fn wants_whole_override(maker: &Maker) -> bool {
    maker.is(WHOLE_OVERRIDE)
}

/// Whether a refusal passes: by the identity of its message, `iLO.2.14.Name`.
pub(super) fn is_busy(message_id: &str) -> bool {
    let Some((registry, name)) = message_id.rsplit_once('.') else { return false };
    let registry = registry.to_lowercase() + ".";
    BUSY.iter().any(|(prefix, busy)| name == *busy && registry.starts_with(prefix))
}

/// Whether a refusal is for want of rights, by the identity of its message.
pub(super) fn is_denied(message_id: &str) -> bool {
    message_id.rsplit_once('.').is_some_and(|(_, name)| DENIED.contains(&name))
}

/// Adds what a refusal with this message misses in a request for InsertMedia; `false` if there is
/// nothing to add.
pub(super) fn add_missing(message: &str, request: &mut Value) -> bool {
    let image = request["Image"].as_str().unwrap_or_default().to_owned();
    let named = |name: &str| message.contains(name) && request.get(name).is_none();
    let missing: Vec<_> = WANTED_BY_SOME.iter().filter(|(name, _)| named(name)).collect();
    for (name, value) in &missing {
        request[*name] = value(&image);
    }
    !missing.is_empty()
}

/// Which properties of `change` go to the settings resource with this `Boot`, and which to the
/// system itself: each is changed where it is shown. AMI has all of them there (DMTF's
/// Redfish-Tacklebox, issue 111), others none or some; sushy does the same.
pub(super) fn split(
    change: Map<String, Value>,
    settings: &Value,
) -> (Map<String, Value>, Map<String, Value>) {
    change.into_iter().partition(|(name, _)| settings.get(name).is_some())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn maker(vendor: &str, manufacturer: &str, model: &str) -> Maker {
        let system = json!({ "Manufacturer": manufacturer, "Model": model });
        Maker::of(&json!({ "Vendor": vendor }), &system)
    }

    #[test]
    fn supermicro_boots_virtual_media_as_usb() {
        let offered = json!(["None", "Pxe", "Hdd", "Cd", "UsbCd"]);
        for (vendor, manufacturer, model, said) in [
            ("Supermicro", "Supermicro", "SYS-1029P", "UsbCd"),
            ("", "Supermicro", "SYS-1029P", "UsbCd"),
            ("Supermicro", "Supermicro", "ARS-111GL-NHR", "Cd"),
            ("Dell", "Dell Inc.", "PowerEdge R640", "Cd"),
            ("HPE", "HPE", "ProLiant DL360 Gen10", "Cd"),
        ] {
            let maker = maker(vendor, manufacturer, model);
            assert_eq!(target(&maker, "Cd", &offered), said, "{maker:?}");
            assert_eq!(target(&maker, "Pxe", &offered), "Pxe");
            assert_eq!(target(&maker, "Cd", &json!(["Cd"])), "Cd", "it offers no other");
            assert_eq!(target(&maker, "Cd", &Value::Null), "Cd");
        }
    }

    #[test]
    fn whole_overrides_are_for_whole_names() {
        for (vendor, whole) in [
            ("Supermicro", true),
            ("AMI", true),
            ("American Megatrends International, LLC", true),
            ("ASRockRack", true),
            ("Redfish_Compatible", true),
            ("Dell Inc.", false),
            ("Miami Servers", false),
            ("", false),
        ] {
            assert_eq!(wants_whole_override(&maker(vendor, "", "")), whole, "{vendor}");
        }
    }

    #[test]
    fn not_now_is_not_never() {
        for (message, busy) in [
            ("iLO.2.14.UnableToModifyDuringSystemPOST", true),
            ("iLO.2.14.InvalidOperationForSystemState", true),
            ("IDRAC.2.8.SYS518", true),
            ("IDRAC.1.6.SWC0700", true),
            ("IDRAC.2.5.RAC0218", true),
            ("Base.1.8.CreateLimitReachedForResource", true),
            ("Base.1.18.SessionLimitExceeded", true),
            ("Base.1.18.InvalidOperationForSystemState", false),
            ("Base.1.18.PropertyValueNotInList", false),
            ("SYS518", false),
            ("", false),
        ] {
            assert_eq!(is_busy(message), busy, "{message}");
        }
    }

    #[test]
    fn what_some_want_is_added_once() {
        let missing = "The action requires the parameter TransferProtocolType to be present";
        for (image, protocol) in [("http://a/b.iso", "HTTP"), ("https://a/b.iso", "HTTPS")] {
            let mut request = json!({ "Image": image });
            assert!(add_missing(missing, &mut request));
            assert_eq!(request["TransferProtocolType"], protocol);
            assert!(!add_missing(missing, &mut request), "it did not help");
            assert!(add_missing("UserName or Password: parameter missing", &mut request));
            assert_eq!(
                (&request["UserName"], &request["Password"]),
                (&"none".into(), &"none".into())
            );
            assert!(!add_missing("the image cannot be mounted", &mut request));
        }
    }

    proptest! {
        /// Each property goes to one place, and everything ends.
        #[test]
        fn nothing_is_lost(
            names in proptest::collection::btree_set("[A-Z][a-z]{0,3}", 0..8),
            shown in proptest::collection::btree_set("[A-Z][a-z]{0,3}", 0..8),
            message in ".{0,60}",
        ) {
            let change: Map<_, _> = names.iter().map(|name| (name.clone(), json!(1))).collect();
            let settings: Map<_, _> = shown.iter().map(|name| (name.clone(), json!(null))).collect();
            let (there, here) = split(change.clone(), &Value::Object(settings));
            prop_assert!(there.keys().all(|name| shown.contains(name)));
            prop_assert!(here.keys().all(|name| !shown.contains(name)));
            prop_assert_eq!(there.len() + here.len(), change.len());
            let mut request = json!({ "Image": "http://a/b" });
            let adds = std::iter::from_fn(|| add_missing(&message, &mut request).then_some(()));
            prop_assert!(adds.take(10).count() <= 1);
            let _ = is_busy(&message);
        }
    }
}
