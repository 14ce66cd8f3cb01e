//! Small programs that the kernel asks before a machine opens a device or writes a variable: all
//! that version 2 of control groups has for that. (Linux, `Documentation/bpf/prog_cgroup_sysctl.rst`;
//! RFC 9669 has the instructions.)
//!
//! They hang above the machine's own control group, so root inside can neither take them off nor
//! loosen them, and go when the process that holds [`Attached`] ends; the machine ends with it.

use std::fs::File;

use aya::{
    Ebpf, EbpfLoader,
    programs::{CgroupAttachMode, CgroupDevice, CgroupSysctl, Program, ProgramError},
};
use camino::Utf8Path;
use object::write::{Object, StandardSegment, Symbol, SymbolSection};

use crate::{MachineError, rules};

/// A register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Register {
    /// The result.
    R0,
    /// What the program is called with; the first argument of a helper.
    R1,
    R2,
    R3,
    R4,
    R5,
    /// The end of the stack.
    Frame = 10,
}

/// A condition of a jump, as in the instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Jump {
    Equal = 0x15,
    NotEqual = 0x55,
}

/// Where a jump goes: to one of the two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Refuse,
    Allow,
}

const LOAD_WORD: u8 = 0x61;
const COPY: u8 = 0xbf;
const SET: u8 = 0xb7;
const ADD: u8 = 0x07;
const AND: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const JUMP: u8 = 0x05;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;

#[derive(Debug, Clone, Copy)]
struct Instruction {
    operation: u8,
    to: Register,
    from: Register,
    offset: i16,
    value: i32,
}

/// A program that is being written. Its numbers are those of one instruction, and jumps go forward.
#[derive(Debug, Default)]
pub(crate) struct Code(Vec<(Instruction, Option<Answer>)>);

impl Code {
    fn put(&mut self, operation: u8, to: Register, value: i32) -> &mut Self {
        let plain = Instruction { operation, to, from: Register::R0, offset: 0, value };
        self.0.push((plain, None));
        self
    }

    /// 32 bits at `from` + `offset`.
    pub(crate) fn load(&mut self, to: Register, from: Register, offset: i16) -> &mut Self {
        let load = Instruction { operation: LOAD_WORD, to, from, offset, value: 0 };
        self.0.push((load, None));
        self
    }

    pub(crate) fn copy(&mut self, to: Register, from: Register) -> &mut Self {
        self.0.push((Instruction { operation: COPY, to, from, offset: 0, value: 0 }, None));
        self
    }

    pub(crate) fn set(&mut self, to: Register, value: i32) -> &mut Self {
        self.put(SET, to, value)
    }

    pub(crate) fn add(&mut self, to: Register, value: i32) -> &mut Self {
        self.put(ADD, to, value)
    }

    pub(crate) fn and(&mut self, to: Register, value: i32) -> &mut Self {
        self.put(AND, to, value)
    }

    pub(crate) fn shift_right(&mut self, to: Register, bits: i32) -> &mut Self {
        self.put(SHIFT_RIGHT, to, bits)
    }

    /// Calls one of the kernel's helpers.
    pub(crate) fn call(&mut self, helper: i32) -> &mut Self {
        self.put(CALL, Register::R0, helper)
    }

    /// Goes over the next `count` instructions.
    pub(crate) fn skip_if(&mut self, is: Jump, of: Register, value: i32, count: i16) -> &mut Self {
        let from = Register::R0;
        let skip = Instruction { operation: is as u8, to: of, from, offset: count, value };
        self.0.push((skip, None));
        self
    }

    pub(crate) fn answer_if(
        &mut self,
        is: Jump,
        of: Register,
        value: i32,
        answer: Answer,
    ) -> &mut Self {
        self.put(is as u8, of, value).ends_with(answer)
    }

    pub(crate) fn answer(&mut self, answer: Answer) -> &mut Self {
        self.put(JUMP, Register::R0, 0).ends_with(answer)
    }

    fn ends_with(&mut self, answer: Answer) -> &mut Self {
        if let Some((_, end)) = self.0.last_mut() {
            *end = Some(answer);
        }
        self
    }

    /// As the kernel reads it; nothing when a jump is too far.
    pub(crate) fn bytes(&self) -> Option<Vec<u8>> {
        let end = self.0.len();
        let mut bytes = Vec::new();
        for (index, (instruction, answer)) in self.0.iter().enumerate() {
            let offset = match answer {
                None => instruction.offset,
                Some(Answer::Refuse) => i16::try_from(end - index - 1).ok()?,
                Some(Answer::Allow) => i16::try_from(end - index + 1).ok()?,
            };
            encode(&mut bytes, Instruction { offset, ..*instruction });
        }
        for answer in [Answer::Refuse, Answer::Allow] {
            let (to, from, offset) = (Register::R0, Register::R0, 0);
            let value = answer as i32;
            encode(&mut bytes, Instruction { operation: SET, to, from, offset, value });
            encode(&mut bytes, Instruction { operation: EXIT, to, from, offset, value: 0 });
        }
        Some(bytes)
    }
}

fn encode(bytes: &mut Vec<u8>, instruction: Instruction) {
    let Instruction { operation, to, from, offset, value } = instruction;
    bytes.extend([operation, (from as u8) << 4 | to as u8]);
    bytes.extend(offset.to_le_bytes());
    bytes.extend(value.to_le_bytes());
}

const DEVICES: (&str, &str) = ("cgroup/dev", "devices");
const SYSCTLS: (&str, &str) = ("cgroup/sysctl", "sysctls");

/// A program in the file that the loader reads: one section of code with its name, and the licence
/// that the kernel asks for.
fn object_file((section, name): (&str, &str), code: &Code) -> Option<Vec<u8>> {
    let code = code.bytes()?;
    let (format, cpu) = (object::BinaryFormat::Elf, object::Architecture::Bpf);
    let mut file = Object::new(format, cpu, object::Endianness::Little);
    let segment = |file: &Object<'_>| file.segment_name(StandardSegment::Text).to_vec();
    let text = file.add_section(segment(&file), section.into(), object::SectionKind::Text);
    let value = file.append_section_data(text, &code, 8);
    file.add_symbol(Symbol {
        name: name.into(),
        value,
        size: u64::try_from(code.len()).ok()?,
        kind: object::SymbolKind::Text,
        scope: object::SymbolScope::Dynamic,
        weak: false,
        section: SymbolSection::Section(text),
        flags: object::SymbolFlags::None,
    });
    let licence = file.add_section(segment(&file), b"license".to_vec(), object::SectionKind::Data);
    file.append_section_data(licence, b"Dual MIT/GPL\0", 1);
    file.write().ok()
}

/// The programs of one machine, for as long as this is kept.
#[derive(Debug)]
pub(crate) struct Attached {
    _programs: [Ebpf; 2],
}

/// Sets a machine's rules on a group of version 2.
pub(crate) fn attach(group: &Utf8Path, disks: &[(u32, u32)]) -> Result<Attached, MachineError> {
    let directory = File::open(group).map_err(MachineError::io(format!("open {group}")))?;
    let mut devices = load(DEVICES, &rules::device_program(disks))?;
    let program: &mut CgroupDevice = program(&mut devices, DEVICES)?;
    program.load().map_err(refused)?;
    program.attach(&directory, CgroupAttachMode::Single).map_err(refused)?;
    let mut sysctls = load(SYSCTLS, &rules::sysctl_program())?;
    let program: &mut CgroupSysctl = self::program(&mut sysctls, SYSCTLS)?;
    program.load().map_err(refused)?;
    program.attach(&directory, CgroupAttachMode::Single).map_err(refused)?;
    Ok(Attached { _programs: [devices, sysctls] })
}

/// Whether the kernel takes such programs.
pub(crate) fn works() -> Result<(), MachineError> {
    let mut devices = load(DEVICES, &rules::device_program(&[]))?;
    let program: &mut CgroupDevice = program(&mut devices, DEVICES)?;
    program.load().map_err(refused)
}

fn load(name: (&str, &str), code: &Code) -> Result<Ebpf, MachineError> {
    let file = object_file(name, code)
        .ok_or_else(|| MachineError::Host("a machine's rules are too long".to_owned()))?;
    EbpfLoader::new().load(&file).map_err(refused)
}

fn program<'a, P>(file: &'a mut Ebpf, (_, name): (&str, &str)) -> Result<&'a mut P, MachineError>
where
    &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
{
    let program = file.program_mut(name);
    let program = program.ok_or_else(|| MachineError::Host(format!("{name} is no program")))?;
    program.try_into().map_err(refused)
}

/// With all that is behind it: the kernel's reason is the last.
fn refused(error: impl std::error::Error) -> MachineError {
    let mut text = error.to_string();
    let mut behind = error.source();
    while let Some(error) = behind {
        text = format!("{text}: {error}");
        behind = error.source();
    }
    MachineError::Host(format!(
        "the kernel takes no programs for control groups (CONFIG_CGROUP_BPF): {text}"
    ))
}

#[cfg(test)]
mod tests {
    use std::{fs, process::Command};

    use super::*;
    use crate::cgroups::Trees;

    struct Group(camino::Utf8PathBuf);

    impl Drop for Group {
        fn drop(&mut self) {
            let _gone = fs::remove_dir(&self.0);
        }
    }

    #[test]
    fn the_kernel_asks_the_programs() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root");
            return;
        }
        let root = match (Trees::of_host().map(|trees| trees.unified), works()) {
            (Ok(Some(root)), Ok(())) => root,
            (trees, works) => {
                println!("skipped: {trees:?}, {works:?}");
                return;
            }
        };
        let group = Group(root.join(format!("undercloud-test-{}", std::process::id())));
        fs::create_dir(&group.0).unwrap();
        let attached = attach(&group.0, &[]).unwrap();
        let script = "echo 0 > \"$0/cgroup.procs\" || exit
            tried() { if (eval \"$2\") 2> /dev/null; then echo \"$1 open\"; else echo \"$1 refused\"; fi; }
            tried null 'exec 3<> /dev/null'
            tried kmsg 'exec 3< /dev/kmsg'
            tried 'loop control' 'exec 3<> /dev/loop-control'
            tried 'to read a variable' 'read x < /proc/sys/kernel/ostype'
            value=$(cat /proc/sys/kernel/printk_ratelimit)
            tried kernel \"echo $value > /proc/sys/kernel/printk_ratelimit\"
            value=$(cat /proc/sys/net/ipv4/ip_default_ttl)
            tried net \"echo $value > /proc/sys/net/ipv4/ip_default_ttl\"";
        let output = Command::new("sh").args(["-c", script, group.0.as_str()]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let lines: Vec<&str> = said.lines().collect();
        let expected = [
            "null open",
            "kmsg refused",
            "loop control refused",
            "to read a variable open",
            "kernel refused",
            "net open",
        ];
        assert_eq!(lines, expected, "{}", String::from_utf8_lossy(&output.stderr));
        drop(attached);
    }
}
