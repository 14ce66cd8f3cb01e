//! Reads an iPXE script as far as our own boot server writes them (netboot's `script`): what to
//! fetch and with which command line, or that there is nothing to boot. Any text gives an answer.

/// What a script says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Script {
    /// Fetch these and start.
    Start {
        /// The kernel, which is fetched and not used: the host's runs already.
        kernel: String,
        /// The initial ramdisk.
        initrd: String,
        /// The kernel's arguments.
        cmdline: String,
    },
    /// Try the next boot device.
    Exit,
}

/// The longest script that is read.
pub(crate) const BYTES_MAX: u64 = 64 << 10;

/// Reads the text; `None` when it is no script that says either.
pub(crate) fn read(text: &str) -> Option<Script> {
    if !text.starts_with("#!ipxe") {
        return None;
    }
    let (mut kernel, mut initrd) = (None, None);
    for line in text.lines() {
        // `command || what to do when it fails`: that is tried again by the caller.
        let words: Vec<&str> =
            line.split_whitespace().take_while(|word| !matches!(*word, "||" | "&&")).collect();
        match words.as_slice() {
            ["kernel", url, arguments @ ..] => {
                let arguments = arguments.iter().filter(|word| !word.starts_with("initrd="));
                let cmdline = arguments.copied().collect::<Vec<_>>().join(" ");
                kernel = Some(((*url).to_owned(), cmdline));
            }
            ["initrd", .., url] => initrd = Some((*url).to_owned()),
            ["boot", ..] => {
                let (kernel, cmdline) = kernel?;
                return Some(Script::Start { kernel, initrd: initrd?, cmdline });
            }
            ["exit", ..] => return Some(Script::Exit),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn our_own_scripts_are_read() {
        let text = "#!ipxe\n\
            echo undercloud: starting from the network\n\
            isset ${undercloud-tries} || set undercloud-tries:int32 0\n\
            imgfree\n\
            kernel http://192.0.2.1/k initrd=initrd console=ttyS0 a.b=c || goto later\n\
            initrd --name initrd http://192.0.2.1/i || goto later\n\
            boot || goto later\n\
            :later\n\
            iseq ${undercloud-tries} 40 && exit 1 ||\n";
        assert_eq!(
            read(text),
            Some(Script::Start {
                kernel: "http://192.0.2.1/k".to_owned(),
                initrd: "http://192.0.2.1/i".to_owned(),
                cmdline: "console=ttyS0 a.b=c".to_owned(),
            })
        );
        assert_eq!(read("#!ipxe\necho nothing\nexit 1\n"), Some(Script::Exit));
    }

    #[test]
    fn what_is_no_script_is_none() {
        for text in ["", "<html>", "#!ipxe\n", "#!ipxe\nboot\n", "#!ipxe\nkernel\nboot\n"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(text: String) {
            let _ = read(&format!("#!ipxe\n{text}"));
        }
    }
}
