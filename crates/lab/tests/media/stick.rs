//! A USB stick that says something, started by BIOS or by UEFI: a FAT file system with code in its
//! boot sector, and a loader where UEFI looks for one on removable media (UEFI 2.10, 3.5.1.1).

/// Prints what follows it on the first serial port, and halts, after ten ticks of the timer: the
/// firmware's own last line goes out with these, and would be mixed with ours.
/// `sti; mov cx, 10; tick: hlt; loop tick; call $+3; pop si; add si, 20; next: cs lodsb;
/// test al, al; jz end; mov dx, 0x3f8; out dx, al; jmp next; end: hlt; jmp end`.
pub(crate) const PRINTS: [u8; 30] = [
    0xfb, 0xb9, 0x0a, 0x00, 0xf4, 0xe2, 0xfd, 0xe8, 0x00, 0x00, 0x5e, 0x81, 0xc6, 0x14, 0x00, 0x2e,
    0xac, 0x84, 0xc0, 0x74, 0x06, 0xba, 0xf8, 0x03, 0xee, 0xeb, 0xf4, 0xf4, 0xeb, 0xfd,
];
/// The same in 64 bits and without the wait: `lea rsi, [rip + 15]; next: lodsb; …`.
const PRINTS_64: [u8; 22] = [
    0x48, 0x8d, 0x35, 0x0f, 0x00, 0x00, 0x00, 0xac, 0x84, 0xc0, 0x74, 0x07, 0x66, 0xba, 0xf8, 0x03,
    0xee, 0xeb, 0xf4, 0xf4, 0xeb, 0xfd,
];

const SECTOR: usize = 512;
const SECTORS: u16 = 4096;
/// Of the one file allocation table: 12 bits a cluster.
const TABLE_SECTORS: u16 = 12;
const DIRECTORY: u8 = 0x10;
const FILE: u8 = 0x20;

/// Bytes of a fixed size, written by place.
struct Image(Vec<u8>);

impl Image {
    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn put_u16(&mut self, at: usize, value: u16) {
        self.put(at, &value.to_le_bytes());
    }

    fn put_u32(&mut self, at: usize, value: u32) {
        self.put(at, &value.to_le_bytes());
    }
}

/// An application for UEFI on x86-64 (PE32+, one section, code that runs anywhere).
fn application(text: &str) -> Vec<u8> {
    let mut pe = Image(vec![0; 2 * SECTOR]);
    pe.put(0, b"MZ");
    pe.put_u32(0x3c, 0x40);
    pe.put(0x40, b"PE\0\0");
    // COFF header: machine, sections, length of the optional header, what it is.
    for (at, value) in [(0x44, 0x8664), (0x46, 1), (0x54, 112), (0x56, 0x0022)] {
        pe.put_u16(at, value);
    }
    // Optional header: magic; entry point; alignments; sizes of image and headers; subsystem.
    pe.put_u16(0x58, 0x020b);
    for (at, value) in [(16, 0x1000), (32, 0x1000), (36, 0x200), (56, 0x2000), (60, 0x200)] {
        pe.put_u32(0x58 + at, value);
    }
    pe.put_u16(0x58 + 68, 10);
    let section = 0x58 + 112;
    pe.put(section, b".text");
    for (at, value) in [(8, 0x200), (12, 0x1000), (16, 0x200), (20, 0x200), (36, 0x6000_0020)] {
        pe.put_u32(section + at, value);
    }
    pe.put(SECTOR, &PRINTS_64);
    pe.put(SECTOR + PRINTS_64.len(), text.as_bytes());
    pe.0
}

/// A stick of 2 MiB that prints `text`.
pub(crate) fn stick(text: &str) -> Vec<u8> {
    let mut disk = Image(vec![0; usize::from(SECTORS) * SECTOR]);
    disk.put(0, b"\xeb\x3c\x90undercld");
    // Bytes a sector; sectors a cluster, before the table; tables; entries of the root directory.
    disk.put(11, &[0, 2, 1, 1, 0, 1, 16, 0]);
    disk.put_u16(19, SECTORS);
    disk.put(21, &[0xf8]);
    disk.put_u16(22, TABLE_SECTORS);
    disk.put(36, b"\x80\0\x29\x01\x02\x03\x04STICK      FAT12   ");
    disk.put(62, &PRINTS);
    disk.put(62 + PRINTS.len(), text.as_bytes());
    disk.put(510, &[0x55, 0xaa]);
    // Clusters 2 and 3: a directory each; 4, then 5: the file.
    disk.put(SECTOR, &[0xf8, 0xff, 0xff, 0xff, 0xff, 0xff, 0x05, 0xf0, 0xff]);
    let root = SECTOR * (1 + usize::from(TABLE_SECTORS));
    let cluster = |number: usize| root + SECTOR * (number - 1);
    let application = application(text);
    let mut entry = |at: usize, name: &[u8; 11], kind: u8, first: u16, bytes: usize| {
        disk.put(at, name);
        disk.put(at + 11, &[kind]);
        disk.put_u16(at + 26, first);
        disk.put_u32(at + 28, u32::try_from(bytes).unwrap());
    };
    entry(root, b"EFI        ", DIRECTORY, 2, 0);
    entry(cluster(2), b".          ", DIRECTORY, 2, 0);
    entry(cluster(2) + 32, b"..         ", DIRECTORY, 0, 0);
    entry(cluster(2) + 64, b"BOOT       ", DIRECTORY, 3, 0);
    entry(cluster(3), b".          ", DIRECTORY, 3, 0);
    entry(cluster(3) + 32, b"..         ", DIRECTORY, 2, 0);
    entry(cluster(3) + 64, b"BOOTX64 EFI", FILE, 4, application.len());
    disk.put(cluster(4), &application);
    disk.0
}
