//! What a person writes about a cloud: `cloud.toml`, a service, a role and a template. None panics,
//! and a path that is taken has one spelling and stays where it may be.
#![no_main]

use libfuzzer_sys::fuzz_target;
use undercloud_cloud::{CloudConfig, Definitions};

const SECRETS: &str = "[admin_password]\nkind = \"password\"\n";

fuzz_target!(|text: &str| {
    let _ = text.parse::<CloudConfig>();
    // One text for all: the first part is the service, what follows a line of `%` the template.
    let (service, template) = text.split_once("\n%\n").unwrap_or((text, ""));
    let files = [
        ("services/secrets.toml", SECRETS),
        ("services/keystone.toml", service),
        ("services/a/b.j2", template),
        ("roles/all.toml", "summary = \"All\"\nservices = [\"keystone\"]\n"),
    ];
    let Ok(all) = Definitions::parse(&files, &["keystone"]) else { return };
    for service in all.services().values() {
        for volume in &service.volumes {
            assert!(!volume.host.as_str().split('/').any(|part| part == ".."));
        }
    }
    let _ = Definitions::parse(&[("roles/all.toml", text)], &[]);
});
