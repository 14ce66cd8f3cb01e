//! A file to source: `. stackrc; openstack image list`.

use super::CloudEntry;

/// What an earlier file may have set, and what would come before ours.
const OTHERS: &[&str] = &[
    "OS_CLOUD",
    "OS_TOKEN",
    "OS_USER_ID",
    "OS_USER_DOMAIN_ID",
    "OS_PROJECT_ID",
    "OS_PROJECT_DOMAIN_ID",
    "OS_TENANT_ID",
    "OS_TENANT_NAME",
    "OS_DOMAIN_ID",
    "OS_DOMAIN_NAME",
    "OS_TRUST_ID",
    "OS_SYSTEM_SCOPE",
    "OS_APPLICATION_CREDENTIAL_ID",
    "OS_APPLICATION_CREDENTIAL_NAME",
    "OS_APPLICATION_CREDENTIAL_SECRET",
    "OS_INSECURE",
];

/// The file's text.
pub(super) fn text(entry: &CloudEntry, ca_path: &str) -> String {
    let variables = [
        ("OS_AUTH_TYPE", "password"),
        ("OS_AUTH_URL", &entry.auth_url),
        ("OS_USERNAME", &entry.username),
        ("OS_PASSWORD", entry.password.expose()),
        ("OS_PROJECT_NAME", &entry.project),
        ("OS_USER_DOMAIN_NAME", &entry.domain),
        ("OS_PROJECT_DOMAIN_NAME", &entry.domain),
        ("OS_REGION_NAME", &entry.region),
        ("OS_INTERFACE", "public"),
        ("OS_IDENTITY_API_VERSION", "3"),
        ("OS_CACERT", ca_path),
    ];
    let mut text =
        format!("# Lets the openstack client into the cloud `{}`. Secret.\n", entry.name);
    text += &format!("unset {}\n", OTHERS.join(" "));
    for (name, value) in variables {
        // Within single quotes a shell takes everything as it is but the quote itself.
        text += &format!("export {name}='{}'\n", value.replace('\'', "'\\''"));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use undercloud_model::Secret;

    use super::*;

    #[test]
    fn a_shell_reads_what_was_written() {
        let entry = CloudEntry {
            name: "undercloud".into(),
            auth_url: "https://127.0.0.1:5000/identity/v3".into(),
            username: "admin".into(),
            password: Secret::new("a'b\"c$(id)`id`\\ \n"),
            project: "admin".into(),
            domain: "Default".into(),
            region: "RegionOne".into(),
            ca_pem: String::new(),
        };
        let script = text(&entry, "/ca") + "printf '%s|' \"$OS_PASSWORD\" \"$OS_CLOUD\"";
        let output = Command::new("sh").arg("-c").arg(script).env("OS_CLOUD", "x").output();
        assert_eq!(String::from_utf8(output.unwrap().stdout).unwrap(), "a'b\"c$(id)`id`\\ \n||");
    }
}
