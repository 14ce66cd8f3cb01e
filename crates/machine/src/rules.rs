//! Which devices and kernel variables root inside may use, said once: as lines of version 1's
//! `devices` controller, and as programs that the kernel asks ([`crate::bpf`]).

use crate::bpf::{
    Answer, Code, Jump,
    Register::{Frame, R1, R2, R3, R4, R5},
};

/// A kind of device file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Block,
    Character,
}

/// Memory's own devices, terminals, links and FUSE; each machine has its disk besides.
/// (Linux, `Documentation/admin-guide/devices.txt`)
const DEVICES: [(u32, Option<u32>); 11] = [
    (1, Some(3)),    // null
    (1, Some(5)),    // zero
    (1, Some(7)),    // full
    (1, Some(8)),    // random
    (1, Some(9)),    // urandom
    (5, Some(0)),    // tty
    (5, Some(1)),    // console
    (5, Some(2)),    // ptmx
    (136, None),     // pts
    (10, Some(200)), // net/tun
    (10, Some(229)), // fuse
];

/// Variables that may be written begin so: those of the machine's own network.
const SYSCTLS: [u8; 4] = *b"net/";

fn allowed(disks: &[(u32, u32)]) -> impl Iterator<Item = (Kind, u32, Option<u32>)> {
    let disks = disks.iter().map(|&(major, minor)| (Kind::Block, major, Some(minor)));
    DEVICES.iter().map(|&(major, minor)| (Kind::Character, major, minor)).chain(disks)
}

/// Lines for `devices.allow`, after `a` went to `devices.deny`
/// (Linux, `Documentation/admin-guide/cgroup-v1/devices.rst`).
pub(crate) fn lines(disks: &[(u32, u32)]) -> Vec<String> {
    let line = |(kind, major, minor): (Kind, u32, Option<u32>)| {
        let kind = if kind == Kind::Block { 'b' } else { 'c' };
        let minor = minor.map_or("*".to_owned(), |minor| minor.to_string());
        format!("{kind} {major}:{minor} rwm")
    };
    // Nodes may be made, and not opened: containers' images hold some.
    let made = ["c *:* m", "b *:* m"].map(str::to_owned);
    allowed(disks).map(line).chain(made).collect()
}

/// The same for a program: `struct bpf_cgroup_dev_ctx` is the kind and the access (upper half), the
/// major and the minor number (Linux, `include/uapi/linux/bpf.h`).
pub(crate) fn device_program(disks: &[(u32, u32)]) -> Code {
    const MAKE_NODE: i32 = 1;
    let mut code = Code::default();
    code.load(R2, R1, 0).load(R4, R1, 4).load(R5, R1, 8);
    code.copy(R3, R2).and(R2, 0xffff).shift_right(R3, 16);
    code.answer_if(Jump::Equal, R3, MAKE_NODE, Answer::Allow);
    for (kind, major, minor) in allowed(disks) {
        let kind = if kind == Kind::Block { 1 } else { 2 };
        // Numbers of devices have 12 and 20 bits.
        let [major, minor] = [Some(major), minor].map(|number| number.map(u32::cast_signed));
        code.skip_if(Jump::NotEqual, R2, kind, 2);
        code.skip_if(Jump::NotEqual, R4, major.unwrap_or_default(), 1);
        match minor {
            Some(minor) => code.answer_if(Jump::Equal, R5, minor, Answer::Allow),
            None => code.answer(Answer::Allow),
        };
    }
    code.answer(Answer::Refuse);
    code
}

/// `struct bpf_sysctl` begins with whether the variable is written; the helper gives its name, from
/// below `/proc/sys` on (Linux, `include/uapi/linux/bpf.h`).
pub(crate) fn sysctl_program() -> Code {
    const GET_NAME: i32 = 101;
    const NAME_BYTES: i16 = 64;
    let mut code = Code::default();
    code.load(R2, R1, 0).answer_if(Jump::Equal, R2, 0, Answer::Allow);
    code.copy(R2, Frame).add(R2, i32::from(-NAME_BYTES));
    code.set(R3, i32::from(NAME_BYTES)).set(R4, 0).call(GET_NAME);
    code.load(R2, Frame, -NAME_BYTES);
    code.answer_if(Jump::Equal, R2, i32::from_le_bytes(SYSCTLS), Answer::Allow);
    code.answer(Answer::Refuse);
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an interpreter of its own makes of a program.
    fn allows(code: &Code, context: [u32; 3]) -> bool {
        let code = code.bytes().unwrap();
        let vm = rbpf::EbpfVmRaw::new(Some(&code)).unwrap();
        let mut memory: Vec<u8> = context.iter().flat_map(|word| word.to_le_bytes()).collect();
        vm.execute_program(&mut memory).unwrap() == 1
    }

    #[test]
    fn lists_and_programs_say_the_same() {
        let disks = [(7, 3), (7, 4)];
        let lines = lines(&disks);
        for line in ["c 1:3 rwm", "c 136:* rwm", "b 7:4 rwm", "b *:* m"] {
            assert!(lines.contains(&line.to_owned()), "{lines:?}");
        }
        let code = device_program(&disks);
        let (block, character) = (1, 2);
        let (make, read, write) = (1, 2, 4);
        for (kind, major, minor, access, allowed) in [
            (character, 1, 3, write, true),
            (character, 136, 77, read | write, true),
            (block, 7, 4, read | write, true),
            (block, 7, 5, read, false),
            (character, 7, 4, read, false),
            (block, 1, 3, read, false),
            (character, 1, 1, read, false),
            (block, 254, 0, make, true),
            (block, 254, 0, make | read, false),
            (character, 10, 237, read, false),
        ] {
            let asked = [access << 16 | kind, major, minor];
            assert_eq!(allows(&code, asked), allowed, "{kind} {major}:{minor} {access}");
        }
    }

    #[test]
    fn what_is_read_needs_no_name() {
        assert!(allows(&sysctl_program(), [0, 0, 0]));
    }
}
