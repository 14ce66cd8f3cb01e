//! Reads a file in TripleO's format so that whatever is wrong with it is said with machine and key.
//!
//! Values are not repeated: the file holds passwords, and one may stand in the wrong place. `null` is
//! as if the key were not there, which is how TripleO writes what it does not know. Keys that we do not
//! know are passed over, since tools of others write theirs; but not those that are nearly one of ours.

use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Number, Value, json};
use undercloud_model::nearest;

use super::{Entry, Instackenv};
use crate::ApiError;

/// Nothing in the file is nested deeper.
const DEPTH_MAX: usize = 16;

/// What a key wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wants {
    Text,
    Number,
    /// A text, or `true` or `false`.
    Word,
    Texts,
    Ports,
    Capabilities,
    Hints,
}

impl Wants {
    const fn words(self) -> &'static str {
        match self {
            Self::Text => "a text in quotes is wanted",
            Self::Number => "a whole number is wanted, without a unit",
            Self::Word => "`true`, `false` or a text is wanted",
            Self::Texts => "a list of texts is wanted",
            Self::Ports => r#"a list is wanted, as in [{"address": "52:54:00:00:00:01"}]"#,
            Self::Capabilities => {
                "`profile:control,boot_mode:uefi` is wanted, or the same as an object"
            }
            Self::Hints => "an object with hints is wanted",
        }
    }
}

/// The keys of a machine.
const KEYS: [(&str, Wants); 19] = [
    ("name", Wants::Text),
    ("pm_type", Wants::Text),
    ("pm_addr", Wants::Text),
    ("pm_port", Wants::Number),
    ("redfish_port", Wants::Number),
    ("pm_system_id", Wants::Text),
    ("redfish_verify_ca", Wants::Word),
    ("boot_interface", Wants::Text),
    ("pm_user", Wants::Text),
    ("pm_password", Wants::Text),
    ("ports", Wants::Ports),
    ("mac", Wants::Texts),
    ("cpu", Wants::Number),
    ("memory", Wants::Number),
    ("disk", Wants::Number),
    ("arch", Wants::Text),
    ("capabilities", Wants::Capabilities),
    ("root_device", Wants::Hints),
    ("resource_class", Wants::Text),
];
const NEEDED: [&str; 3] = ["pm_addr", "pm_user", "pm_password"];
/// TripleO's and Ironic's keys that say nothing to us; one of them is near to one of ours.
const OF_OTHERS: [&str; 12] = [
    "uuid",
    "kernel_id",
    "ramdisk_id",
    "deploy_interface",
    "network_interface",
    "bios_interface",
    "management_interface",
    "power_interface",
    "raid_interface",
    "vendor_interface",
    "conductor_group",
    "platform",
];
/// The hints that choose a disk.
const HINTS: [&str; 6] = ["serial", "wwn", "model", "size", "rotational", "name"];
/// Ironic's operators of hints: here a hint is the value itself.
const OPERATORS: [&str; 16] = [
    "<all-in>",
    "<range-in>",
    "<or>",
    "<in>",
    "s==",
    "s!=",
    "s>=",
    "s<=",
    "s>",
    "s<",
    "==",
    "!=",
    ">=",
    "<=",
    "=",
    ">",
];

impl Instackenv {
    /// Reads the file's text.
    ///
    /// # Errors
    /// What is wrong, in which machine, under which key; no value is repeated.
    pub fn parse(text: &[u8]) -> Result<Self, ApiError> {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        if text.iter().all(u8::is_ascii_whitespace) {
            return Err(wrong("the file is empty").hint(EXAMPLE));
        }
        let Whole(file) = serde_json::from_slice(text).map_err(syntax)?;
        let nodes = match file {
            Value::Object(mut file) => file.remove("nodes"),
            Value::Array(_) => {
                let message = r#"the file is a list; write {"nodes": [...]} around it"#;
                return Err(wrong(message));
            }
            _ => None,
        };
        let Some(Value::Array(nodes)) = nodes else {
            return Err(wrong("the file has no list `nodes`").hint(EXAMPLE));
        };
        let entries = nodes.into_iter().enumerate().map(|(place, node)| entry(place, node));
        Ok(Self { nodes: entries.collect::<Result<_, _>>()? })
    }
}

const EXAMPLE: &str = "`undercloud lab create` writes one; compare with TripleO's instackenv.json";

fn wrong(message: impl std::fmt::Display) -> ApiError {
    ApiError::invalid(message)
}

/// What is no JSON. serde_json's words for it repeat nothing of the text.
fn syntax(error: serde_json::Error) -> ApiError {
    let (line, column) = (error.line(), error.column());
    if error.is_data() {
        // Ours: see `Whole`. It names a key.
        return wrong(format_args!("the file: {error}"));
    }
    let what = error.to_string();
    let what = what.split(" at line ").next().unwrap_or("no JSON");
    wrong(format_args!("the file is no JSON: {what} (line {line}, column {column})")).hint(EXAMPLE)
}

fn entry(place: usize, node: Value) -> Result<Entry, ApiError> {
    let Value::Object(node) = node else {
        return Err(wrong(format_args!("machine number {} is no object", place + 1)));
    };
    let shown = match node.get("name").and_then(Value::as_str) {
        Some(name) => {
            format!("machine `{}`", name.chars().take(64).collect::<String>().escape_debug())
        }
        None => format!("machine number {}", place + 1),
    };
    let at = |key: &str, why: &str| wrong(format_args!("{shown}: {key}: {why}"));
    for key in node.keys() {
        let known = KEYS.map(|(known, _)| known);
        if known.contains(&key.as_str()) || OF_OTHERS.contains(&key.as_str()) {
            continue;
        }
        if let Some(meant) = nearest(key, known).into_iter().find(|known| is_meant(key, known)) {
            return Err(at(&shorten(key), &format!("did you mean `{meant}`?")));
        }
    }
    let mut kept = Map::new();
    for (key, wants) in KEYS {
        let value = node.get(key).filter(|value| !value.is_null());
        let Some(value) = value else { continue };
        match normal(wants, value) {
            Ok(Some(value)) => {
                kept.insert(key.to_owned(), value);
            }
            Ok(None) => {}
            Err((inner, why)) => return Err(at(&format!("{key}{inner}"), &why)),
        }
    }
    if let Some(missing) = NEEDED.iter().find(|key| !kept.contains_key(**key)) {
        return Err(at(missing, "it is missing"));
    }
    Entry::deserialize(Value::Object(kept))
        .map_err(|_| wrong(format_args!("{shown} cannot be read")))
}

/// Whether a key that is near to one of ours is that. Short words are near to many: of those only one
/// letter more, less, other or two in the wrong order.
fn is_meant(key: &str, known: &str) -> bool {
    const SHORT: usize = 7;
    if known.len() >= SHORT {
        return true;
    }
    let (key, known) = (key.as_bytes(), known.as_bytes());
    let begin = key.iter().zip(known).take_while(|(a, b)| a == b).count();
    let (key, known) = (&key[begin..], &known[begin..]);
    let end = key.iter().rev().zip(known.iter().rev()).take_while(|(a, b)| a == b).count();
    let (key, known) = (&key[..key.len() - end], &known[..known.len() - end]);
    match (key, known) {
        ([] | [_], [] | [_]) => true,
        ([a, b], [c, d]) => (a, b) == (d, c),
        _ => false,
    }
}

fn shorten(key: &str) -> String {
    key.chars().take(64).collect::<String>().escape_debug().to_string()
}

/// Where inside of a key's value something is wrong, and what.
type Fault = (String, String);

/// The value in the one form that is read further on; nothing if it says nothing.
fn normal(wants: Wants, value: &Value) -> Result<Option<Value>, Fault> {
    let no = || (String::new(), wants.words().to_owned());
    match wants {
        Wants::Text => value.as_str().map(|text| Some(json!(text))).ok_or_else(no),
        Wants::Number => match value {
            Value::String(text) if text.trim().is_empty() => Ok(None),
            _ => whole_number(value).map(|number| Some(json!(number))).ok_or_else(no),
        },
        Wants::Word => match value {
            Value::Bool(truth) => Ok(Some(json!(truth.to_string()))),
            _ => value.as_str().map(|text| Some(json!(text))).ok_or_else(no),
        },
        Wants::Texts => {
            let texts = value.as_array().ok_or_else(no)?;
            let all = texts.iter().all(Value::is_string);
            if all { Ok(Some(value.clone())) } else { Err(no()) }
        }
        Wants::Ports => {
            let ports = value.as_array().ok_or_else(no)?.iter().enumerate().map(|(place, port)| {
                let address = port.as_str().or_else(|| port.get("address")?.as_str());
                let fault = || (format!("[{place}]"), "its `address` is missing".to_owned());
                address.map(|address| json!({ "address": address })).ok_or_else(fault)
            });
            ports.collect::<Result<Vec<_>, _>>().map(|ports| Some(Value::Array(ports)))
        }
        Wants::Capabilities => capabilities(value).map(Some),
        Wants::Hints => hints(value).map(Some),
    }
}

/// A number, also one in quotes, and one that some tool wrote with a point.
fn whole_number(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => text.trim().parse().ok(),
        Value::Number(number) => number.as_u64().or_else(|| integral(number)),
        _ => None,
    }
}

fn integral(number: &Number) -> Option<u64> {
    number.to_string().strip_suffix(".0")?.parse().ok()
}

fn capabilities(value: &Value) -> Result<Value, Fault> {
    let wanted = || Wants::Capabilities.words().to_owned();
    match value {
        Value::String(text) => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            // The part itself is no secret, but may be anything.
            let is_pair = |part: &str| part.contains(':');
            if parts.clone().all(is_pair) {
                Ok(json!(text))
            } else {
                Err((String::new(), wanted()))
            }
        }
        Value::Object(map) => {
            let pairs = map.iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| {
                let text = match value {
                    Value::String(text) => Some(text.clone()),
                    Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
                    _ => None,
                };
                let fault = || (format!(".{}", shorten(key)), "a text is wanted".to_owned());
                Ok((key.clone(), json!(text.ok_or_else(fault)?)))
            });
            Ok(Value::Object(pairs.collect::<Result<_, Fault>>()?))
        }
        _ => Err((String::new(), wanted())),
    }
}

fn hints(value: &Value) -> Result<Value, Fault> {
    let Value::Object(map) = value else {
        return Err((String::new(), Wants::Hints.words().to_owned()));
    };
    let mut kept = Map::new();
    for (key, value) in map.iter().filter(|(_, value)| !value.is_null()) {
        let fault = |why: String| (format!(".{}", shorten(key)), why);
        if !HINTS.contains(&key.as_str()) {
            return Err(fault(match nearest(key, HINTS).first() {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("is no hint that is known; those are {}", HINTS.join(", ")),
            }));
        }
        if value.as_str().is_some_and(has_operator) {
            return Err(fault("operators are not known: give the value itself".to_owned()));
        }
        let normal = match key.as_str() {
            "size" => whole_number(value).map(|gib| json!(gib)),
            "rotational" => match value.as_str().map(str::to_ascii_lowercase).as_deref() {
                Some("true") => Some(json!(true)),
                Some("false") => Some(json!(false)),
                _ => value.as_bool().map(|truth| json!(truth)),
            },
            _ => value.as_str().map(|text| json!(text)),
        };
        let wanted = match key.as_str() {
            "size" => "a whole number of GiB is wanted",
            "rotational" => "`true` or `false` is wanted",
            _ => "a text in quotes is wanted",
        };
        let normal = normal.ok_or_else(|| fault(wanted.to_owned()))?;
        let is_path = |name: &str| name.strip_prefix("/dev/").unwrap_or(name).contains('/');
        if key == "name" && normal.as_str().is_some_and(is_path) {
            let why = "only the kernel's own names are compared, as `/dev/sda`; hint at `serial` or \
                       `wwn`, which stay the same";
            return Err(fault(why.to_owned()));
        }
        kept.insert(key.clone(), normal);
    }
    Ok(Value::Object(kept))
}

fn has_operator(text: &str) -> bool {
    let text = text.trim_start();
    OPERATORS.iter().any(|operator| text.starts_with(operator))
}

/// A JSON value in which no key of an object is given twice: which of the two counts would be chance.
struct Whole(Value);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Visitor { depth: 0 }).map(Whole)
    }
}

#[derive(Clone, Copy)]
struct Visitor {
    depth: usize,
}

impl<'de> de::DeserializeSeed<'de> for Visitor {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor {
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        if self.depth == DEPTH_MAX {
            return Err(E::custom("it is nested too deeply"));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> de::Visitor<'de> for Visitor {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(json!(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(json!(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(json!(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(json!(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(self.deeper()?)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = object.next_key::<String>()? {
            let value = object.next_value_seed(self.deeper()?)?;
            if map.contains_key(&key) {
                return Err(de::Error::custom(format_args!("`{}` is given twice", shorten(&key))));
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(key: &str, value: Value) -> Value {
        let mut machine = json!({ "name": "a", "pm_addr": "10.0.0.1", "pm_user": "u",
                                  "pm_password": "hunter2", "mac": ["52:54:00:00:00:01"] });
        machine[key] = value;
        json!({ "nodes": [machine] })
    }

    fn fault(text: &str) -> String {
        let error = Instackenv::parse(text.as_bytes()).unwrap_err();
        assert!(!error.message.contains("hunter2"), "{error}");
        error.message
    }

    #[test]
    fn what_is_wrong_is_said_with_machine_and_key() {
        for (key, value, expected) in [
            ("memory", json!("4 GiB"), "machine `a`: memory: a whole number is wanted"),
            ("memory", json!(4096.5), "machine `a`: memory: a whole number is wanted"),
            ("cpu", json!(-1), "machine `a`: cpu: a whole number is wanted"),
            ("ports", json!("52:54:00:00:00:01"), "machine `a`: ports: a list is wanted"),
            ("ports", json!([{ "mac": "x" }]), "machine `a`: ports[0]: its `address` is missing"),
            ("pm_password", json!(1234), "machine `a`: pm_password: a text in quotes is wanted"),
            ("pm_password", Value::Null, "machine `a`: pm_password: it is missing"),
            (
                "pm_passwort",
                json!("hunter2"),
                "machine `a`: pm_passwort: did you mean `pm_password`?",
            ),
            ("prots", json!([]), "machine `a`: prots: did you mean `ports`?"),
            ("memry", json!(1), "machine `a`: memry: did you mean `memory`?"),
            ("capabilities", json!(true), "machine `a`: capabilities: `profile:control"),
            ("capabilities", json!("secure_boot"), "machine `a`: capabilities: `profile:control"),
            ("capabilities", json!({ "a": [] }), "machine `a`: capabilities.a: a text is wanted"),
            ("root_device", json!("sda"), "machine `a`: root_device: an object with hints"),
            ("root_device", json!({ "size": ">= 4" }), "machine `a`: root_device.size: operators"),
            (
                "root_device",
                json!({ "serial": "s== UC-1" }),
                "machine `a`: root_device.serial: oper",
            ),
            (
                "root_device",
                json!({ "vendor": "x" }),
                "machine `a`: root_device.vendor: is no hint",
            ),
            (
                "root_device",
                json!({ "serail": "x" }),
                "machine `a`: root_device.serail: did you mean `serial`?",
            ),
            (
                "root_device",
                json!({ "rotational": "no" }),
                "machine `a`: root_device.rotational: `true` or",
            ),
            (
                "root_device",
                json!({ "name": "/dev/disk/by-path/pci-0000:00:01" }),
                "machine `a`: root_device.name: only the kernel's own names",
            ),
        ] {
            let said = fault(&with(key, value.clone()).to_string());
            assert!(said.starts_with(expected), "{key} {value}: {said}");
        }
        let nameless = json!({ "nodes": [{ "pm_user": "u" }] });
        assert_eq!(fault(&nameless.to_string()), "machine number 1: pm_addr: it is missing");
    }

    #[test]
    fn what_is_no_such_file_is_said_too() {
        for (text, expected) in [
            ("", "the file is empty"),
            ("[{}]", "the file is a list; write"),
            ("{}", "the file has no list `nodes`"),
            (r#"{"nodes": {}}"#, "the file has no list `nodes`"),
            (r#"{"nodes": [1]}"#, "machine number 1 is no object"),
            (r#"{"nodes": [],}"#, "the file is no JSON: trailing comma (line 1, column 14)"),
            ("nodes:\n- name: hunter2\n", "the file is no JSON: expected ident (line 1, column 2)"),
            (
                r#"{"nodes": [{"name": "hunter2", "name": "b"}]}"#,
                "the file: `name` is given twice at line 1 column",
            ),
        ] {
            let said = fault(text);
            assert!(said.starts_with(expected), "{text}: {said}");
        }
        let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
        assert!(fault(&deep).contains("nested too deeply"));
    }

    #[test]
    fn what_tripleo_and_others_write_is_taken() {
        for (key, value) in [
            ("ports", Value::Null),
            ("ports", json!(["52:54:00:00:00:01"])),
            ("ports", json!([{ "address": "52:54:00:00:00:01", "physical_network": "ctlplane" }])),
            ("pm_system_id", Value::Null),
            ("boot_interface", Value::Null),
            ("redfish_verify_ca", Value::Null),
            ("redfish_verify_ca", json!(false)),
            ("memory", json!("4096")),
            ("memory", json!(4096.0)),
            ("disk", json!("")),
            ("capabilities", Value::Null),
            ("capabilities", json!({ "secure_boot": true, "cores": 4, "none": null })),
            ("root_device", Value::Null),
            ("root_device", json!({ "size": "10", "rotational": "False", "wwn": null })),
            ("root_device", json!({ "name": "/dev/vda" })),
            ("kernel_id", json!("x")),
            ("_comment", json!({ "anything": [] })),
            ("description", json!("rack 7")),
            ("rack", json!(7)),
            ("note", json!("x")),
            ("tag", json!("x")),
        ] {
            let file = with(key, value.clone());
            let read = Instackenv::parse(file.to_string().as_bytes());
            assert!(read.is_ok(), "{key} {value}: {:?}", read.err());
        }
        let bom = format!("\u{feff}{}\r\n", with("cpu", json!("2")));
        assert_eq!(Instackenv::parse(bom.as_bytes()).unwrap().nodes[0].cpu, Some(2));
    }
}
