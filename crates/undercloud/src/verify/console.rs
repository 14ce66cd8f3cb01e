//! What the test server says on its console: lines that begin with `undercloud-test:`, written by
//! `images/test-server/init`.

/// The start of every such line.
const MARK: &str = "undercloud-test: ";

/// How Linux says that it ended (`kernel/panic.c`).
const PANIC: &str = "Kernel panic - not syncing";

/// How far the server got.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Console {
    /// Its first program runs.
    pub(super) user_space: bool,
    /// Its address, from DHCP.
    pub(super) address: Option<String>,
    /// The MTU, from DHCP.
    pub(super) mtu: Option<u32>,
    /// Who it is, from the metadata service.
    pub(super) uuid: Option<String>,
    /// It was given the key for ssh.
    pub(super) has_key: bool,
    /// What it tried to reach, and whether it did.
    pub(super) reached: Vec<(String, bool)>,
    /// It has done all that it does.
    pub(super) ready: bool,
    /// Why its kernel ended.
    pub(super) panic: Option<String>,
    /// Its last line, for people.
    last: String,
}

impl Console {
    /// Reads what the console printed so far.
    pub(super) fn parse(text: &str) -> Self {
        let mut console = Self::default();
        for line in text.lines().map(str::trim) {
            if let Some(at) = line.find(PANIC) {
                console.panic = Some(line[at..].to_owned());
            }
            match line.find(MARK) {
                // The kernel may write in front of it, on the same line.
                Some(at) => console.take(&line[at + MARK.len()..]),
                None if !line.is_empty() => console.last = line.to_owned(),
                None => {}
            }
        }
        console
    }

    fn take(&mut self, said: &str) {
        self.last = said.to_owned();
        let words: Vec<&str> = said.split_whitespace().collect();
        match words[..] {
            ["user", "space"] => self.user_space = true,
            ["address", address, "mtu", mtu] => {
                self.address = Some(address.to_owned());
                self.mtu = mtu.parse().ok();
            }
            ["metadata", "key", ..] => self.has_key = true,
            ["metadata", uuid, ..] if uuid.starts_with("uuid=") => {
                self.uuid = Some(uuid["uuid=".len()..].to_owned());
            }
            ["reach", target, answer] => self.reached.push((target.to_owned(), answer == "yes")),
            ["ready"] => self.ready = true,
            _ => {}
        }
    }

    /// How far it got, for the sentence about a server that does not come up.
    pub(super) fn progress(&self) -> String {
        let reached = match self {
            Self { ready: true, .. } => "is ready",
            Self { uuid: Some(_), .. } => "knows who it is",
            Self { address: Some(_), .. } => "has an address, but no metadata",
            Self { user_space: true, .. } => "runs, but has no address",
            _ if self.last.is_empty() => return "its console is empty".to_owned(),
            _ => "has not come to its first program",
        };
        format!("it {reached}; its console ends with `{}`", self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "\
[    1.2] x\r
undercloud-test: user space\r
undercloud-test: address 192.168.50.17 mtu 1442\r
undercloud-test: metadata uuid=d8e02d56-2648 name=undercloud-verify\r
undercloud-test: metadata local-ipv4=192.168.50.17\r
undercloud-test: metadata key for root\r
[    3.0] random: crng init doneundercloud-test: reach 192.168.24.1:8443 no\r
undercloud-test: reach 10.0.0.1:icmp yes\r
undercloud-test: ready\r
";

    #[test]
    fn every_line_is_understood() {
        let console = Console::parse(PRINTED);
        assert!(console.user_space && console.has_key && console.ready);
        assert_eq!(console.address.as_deref(), Some("192.168.50.17"));
        assert_eq!(console.mtu, Some(1442));
        assert_eq!(console.uuid.as_deref(), Some("d8e02d56-2648"));
        let reached = [("192.168.24.1:8443".into(), false), ("10.0.0.1:icmp".into(), true)];
        assert_eq!(console.reached, reached);
    }

    #[test]
    fn the_sentence_says_how_far_it_got() {
        for (lines, expected) in [
            (0, "its console is empty"),
            (1, "it has not come to its first program; its console ends with `[    1.2] x`"),
            (2, "it runs, but has no address; its console ends with `user space`"),
            (
                3,
                "it has an address, but no metadata; its console ends with `address 192.168.50.17 mtu 1442`",
            ),
        ] {
            let text: String = PRINTED.split_inclusive('\n').take(lines).collect();
            assert_eq!(Console::parse(&text).progress(), expected);
        }
    }

    #[test]
    fn the_end_of_its_kernel_is_seen() {
        let text = "x\r\n[    0.4] Kernel panic - not syncing: IO-APIC + timer doesn't work!\r\n";
        let panic = Console::parse(text).panic.unwrap();
        assert!(panic.starts_with("Kernel panic") && panic.ends_with("work!"), "{panic}");
        assert_eq!(Console::parse(PRINTED).panic, None);
    }

    #[test]
    fn the_image_writes_what_is_read_here() {
        let init = include_str!("../../../../images/test-server/init");
        for said in [
            "user space",
            "address $",
            "metadata uuid=$",
            "metadata key for",
            "reach $1 $answer",
            "ready",
        ] {
            assert!(init.contains(&format!("say \"{said}")), "{said}");
        }
        assert!(init.contains(&format!("echo \"{MARK}$*\"")));
    }
}
