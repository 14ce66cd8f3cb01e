//! ISO 9660 (ECMA-119, 4th edition) with Joliet: the layout and the records.

use std::collections::{BTreeMap, BTreeSet};

use super::ConfigDriveError;
use crate::iso9660::{both_u16, both_u32, record};

const SECTOR: usize = 2048;
const BYTES_MAX: u64 = 64 << 20;
/// Sectors before the descriptors.
const SYSTEM_AREA: u32 = 16;
/// Primary, Joliet, terminator; then two path tables (both byte orders) of one sector each.
const FIRST_FREE: u32 = SYSTEM_AREA + 3 + 4;

/// Which of the two trees.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tree {
    Plain,
    Joliet,
}

struct Dir<'a> {
    name: &'a str,
    parent: usize,
    dirs: Vec<usize>,
    files: Vec<usize>,
}

struct File<'a> {
    name: &'a str,
    content: &'a [u8],
    sector: u32,
}

struct Layout<'a> {
    dirs: Vec<Dir<'a>>,
    files: Vec<File<'a>>,
    /// First sector and length in bytes of each directory.
    plain: Vec<(u32, u32)>,
    joliet: Vec<(u32, u32)>,
    sectors: u32,
}

pub(super) fn write(
    files: &BTreeMap<String, Vec<u8>>,
    label: &str,
) -> Result<Vec<u8>, ConfigDriveError> {
    let total: u64 = files.values().map(|c| c.len() as u64 + SECTOR as u64).sum();
    if total > BYTES_MAX {
        return Err(ConfigDriveError::TooLarge);
    }
    let layout = lay_out(files)?;
    let mut out = Vec::with_capacity(layout.sectors as usize * SECTOR);
    out.resize(SYSTEM_AREA as usize * SECTOR, 0);
    let tables = [Tree::Plain, Tree::Joliet].map(|tree| path_table(&layout, tree));
    let length = |t: &[Vec<u8>; 2]| u32::try_from(t[0].len()).unwrap_or(u32::MAX);
    if tables.iter().any(|t| t[0].len() > SECTOR) {
        return Err(ConfigDriveError::TooLarge);
    }
    out.extend(descriptor(&layout, Tree::Plain, label, length(&tables[0])));
    out.extend(descriptor(&layout, Tree::Joliet, label, length(&tables[1])));
    out.extend(padded(b"\xffCD001\x01"));
    for table in tables.iter().flatten() {
        out.extend(padded(table));
    }
    for tree in [Tree::Plain, Tree::Joliet] {
        for index in 0..layout.dirs.len() {
            out.extend(directory(&layout, tree, index));
        }
    }
    for file in &layout.files {
        out.extend_from_slice(file.content);
        out.resize(out.len().next_multiple_of(SECTOR), 0);
    }
    Ok(out)
}

fn lay_out(files: &BTreeMap<String, Vec<u8>>) -> Result<Layout<'_>, ConfigDriveError> {
    let mut dirs = vec![Dir { name: "", parent: 0, dirs: vec![], files: vec![] }];
    let mut list = Vec::new();
    let mut taken = BTreeSet::new();
    for (path, content) in files {
        let mut at = 0;
        let mut parts = path.split('/').peekable();
        while let Some(name) = parts.next() {
            if parts.peek().is_none() {
                dirs[at].files.push(list.len());
                list.push(File { name, content, sector: 0 });
                if !taken.insert((at, plain_name(name))) {
                    return Err(ConfigDriveError::Twice(path.clone()));
                }
                continue;
            }
            let known = dirs[at].dirs.iter().copied().find(|d| dirs[*d].name == name);
            at = match known {
                Some(dir) => dir,
                None => {
                    if !taken.insert((at, plain_name(name))) {
                        return Err(ConfigDriveError::Twice(path.clone()));
                    }
                    dirs.push(Dir { name, parent: at, dirs: vec![], files: vec![] });
                    let new = dirs.len() - 1;
                    dirs[at].dirs.push(new);
                    new
                }
            };
        }
    }
    let dirs = breadth_first(dirs);
    let mut layout =
        Layout { dirs, files: list, plain: vec![], joliet: vec![], sectors: FIRST_FREE };
    for tree in [Tree::Plain, Tree::Joliet] {
        for index in 0..layout.dirs.len() {
            let bytes = directory_length(&layout, tree, index);
            let place = (layout.sectors, bytes);
            layout.sectors += bytes / u32::try_from(SECTOR).unwrap_or(u32::MAX);
            match tree {
                Tree::Plain => layout.plain.push(place),
                Tree::Joliet => layout.joliet.push(place),
            }
        }
    }
    for file in &mut layout.files {
        file.sector = layout.sectors;
        let sectors = u32::try_from(file.content.len().div_ceil(SECTOR));
        layout.sectors += sectors.map_err(|_| ConfigDriveError::TooLarge)?;
    }
    Ok(layout)
}

/// Path tables want directories by depth, then parent, then name (ECMA-119, 6.9.1).
fn breadth_first(dirs: Vec<Dir<'_>>) -> Vec<Dir<'_>> {
    let mut order = vec![0];
    let mut at = 0;
    while at < order.len() {
        let mut children = dirs[order[at]].dirs.clone();
        children.sort_by_key(|d| plain_name(dirs[*d].name));
        order.extend(children);
        at += 1;
    }
    let mut new_index = vec![0; dirs.len()];
    for (new, old) in order.iter().enumerate() {
        new_index[*old] = new;
    }
    let mut sorted: Vec<(usize, Dir<'_>)> = dirs
        .into_iter()
        .enumerate()
        .map(|(old, dir)| {
            let children = dir.dirs.iter().map(|d| new_index[*d]).collect();
            (new_index[old], Dir { parent: new_index[dir.parent], dirs: children, ..dir })
        })
        .collect();
    sorted.sort_by_key(|(new, _)| *new);
    sorted.into_iter().map(|(_, dir)| dir).collect()
}

fn plain_name(name: &str) -> String {
    name.to_ascii_uppercase().replace('-', "_")
}

/// A name as the tree spells it. Files carry a version (ECMA-119, 7.5.1).
fn identifier(tree: Tree, name: &str, is_file: bool) -> Vec<u8> {
    match tree {
        Tree::Plain => {
            let mut text = plain_name(name);
            if is_file {
                if !text.contains('.') {
                    text.push('.');
                }
                text.push_str(";1");
            }
            text.into_bytes()
        }
        Tree::Joliet => {
            let version = if is_file { ";1" } else { "" };
            name.encode_utf16().chain(version.encode_utf16()).flat_map(u16::to_be_bytes).collect()
        }
    }
}

/// One child of a directory: name, first sector, bytes, whether it is a directory.
type Child = (Vec<u8>, u32, u32, bool);

fn children(layout: &Layout<'_>, tree: Tree, index: usize) -> Vec<Child> {
    let dir = &layout.dirs[index];
    let places = if tree == Tree::Plain { &layout.plain } else { &layout.joliet };
    let mut all: Vec<Child> = Vec::new();
    for child in &dir.dirs {
        // While lengths are being counted the places are not known yet, and do not matter.
        let (sector, bytes) = places.get(*child).copied().unwrap_or((0, 0));
        all.push((identifier(tree, layout.dirs[*child].name, false), sector, bytes, true));
    }
    for file in &dir.files {
        let file = &layout.files[*file];
        let bytes = u32::try_from(file.content.len()).unwrap_or(u32::MAX);
        all.push((identifier(tree, file.name, true), file.sector, bytes, false));
    }
    all.sort();
    all
}

fn directory_length(layout: &Layout<'_>, tree: Tree, index: usize) -> u32 {
    let bytes = directory(layout, tree, index).len();
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn directory(layout: &Layout<'_>, tree: Tree, index: usize) -> Vec<u8> {
    let places = if tree == Tree::Plain { &layout.plain } else { &layout.joliet };
    let place = |i: usize| places.get(i).copied().unwrap_or((0, 0));
    let (own, parent) = (place(index), place(layout.dirs[index].parent));
    let mut out = record(b"\x00", own.0, own.1, true);
    out.extend(record(b"\x01", parent.0, parent.1, true));
    for (name, sector, bytes, is_dir) in children(layout, tree, index) {
        let next = record(&name, sector, bytes, is_dir);
        // A record does not cross a sector's end (ECMA-119, 6.8.1.1).
        if out.len() % SECTOR + next.len() > SECTOR {
            out.resize(out.len().next_multiple_of(SECTOR), 0);
        }
        out.extend(next);
    }
    out.resize(out.len().next_multiple_of(SECTOR), 0);
    out
}

/// Little-endian and big-endian tables.
fn path_table(layout: &Layout<'_>, tree: Tree) -> [Vec<u8>; 2] {
    let places = if tree == Tree::Plain { &layout.plain } else { &layout.joliet };
    let (mut little, mut big) = (Vec::new(), Vec::new());
    for (dir, (sector, _)) in layout.dirs.iter().zip(places) {
        let name = match dir.name {
            "" => vec![0],
            name => identifier(tree, name, false),
        };
        let parent = u16::try_from(dir.parent + 1).unwrap_or(u16::MAX);
        for (table, sector, parent) in [
            (&mut little, sector.to_le_bytes(), parent.to_le_bytes()),
            (&mut big, sector.to_be_bytes(), parent.to_be_bytes()),
        ] {
            table.extend([u8::try_from(name.len()).unwrap_or(u8::MAX), 0]);
            table.extend(sector);
            table.extend(parent);
            table.extend(&name);
            table.resize(table.len().next_multiple_of(2), 0);
        }
    }
    [little, big]
}

/// A volume descriptor (ECMA-119, 8.4 and 8.5).
fn descriptor(layout: &Layout<'_>, tree: Tree, label: &str, path_table: u32) -> Vec<u8> {
    let mut d = vec![0u8; SECTOR];
    let text = |field: &mut [u8], text: &str| match tree {
        Tree::Plain => {
            field.fill(b' ');
            field[..text.len()].copy_from_slice(text.as_bytes());
        }
        Tree::Joliet => {
            let blanks = text.encode_utf16().chain(std::iter::repeat(u16::from(b' ')));
            for (pair, unit) in field.chunks_exact_mut(2).zip(blanks) {
                pair.copy_from_slice(&unit.to_be_bytes());
            }
        }
    };
    let (root, first_table) = match tree {
        Tree::Plain => (layout.plain.first(), SYSTEM_AREA + 3),
        Tree::Joliet => (layout.joliet.first(), SYSTEM_AREA + 5),
    };
    let root = root.copied().unwrap_or((0, 0));
    d[0] = if tree == Tree::Plain { 1 } else { 2 };
    d[1..7].copy_from_slice(b"CD001\x01");
    text(&mut d[8..40], "");
    text(&mut d[40..72], label);
    d[80..88].copy_from_slice(&both_u32(layout.sectors));
    if tree == Tree::Joliet {
        d[88..91].copy_from_slice(b"%/E"); // UCS-2 level 3
    }
    d[120..124].copy_from_slice(&both_u16(1));
    d[124..128].copy_from_slice(&both_u16(1));
    d[128..132].copy_from_slice(&both_u16(2048));
    d[132..140].copy_from_slice(&both_u32(path_table));
    d[140..144].copy_from_slice(&first_table.to_le_bytes());
    d[148..152].copy_from_slice(&(first_table + 1).to_be_bytes());
    d[156..190].copy_from_slice(&record(b"\x00", root.0, root.1, true));
    for field in [190..318, 318..446, 446..574, 574..702, 702..739, 739..776, 776..813] {
        text(&mut d[field], "");
    }
    for at in [813, 830, 847, 864] {
        d[at..at + 16].fill(b'0'); // no date given (8.4.26.1)
    }
    d[881] = 1;
    d
}

fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut sector = bytes.to_vec();
    sector.resize(bytes.len().next_multiple_of(SECTOR), 0);
    sector
}
