//! What a container machine is started by and boots from: its settings, and the boot script that a
//! server on its network sends. (An initial ramdisk is unpacked only where `/` is the machine's own.)
#![no_main]

use undercloud_machine::Settings;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    undercloud_machine::fuzz::script(bytes);
    if let Ok(settings) = serde_json::from_slice::<Settings>(bytes) {
        let text = serde_json::to_vec(&settings).expect("settings can be written");
        assert_eq!(serde_json::from_slice::<Settings>(&text).expect("and read"), settings);
    }
});
