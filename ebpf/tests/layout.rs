//! The layouts of `records.rs` are those of the compiled kernel programs.

use std::collections::BTreeMap;

use kerntrail_ebpf::records::{ENUMS, LAYOUTS};

/// Types of an object's BTF: only what the comparison needs.
/// Format: Documentation/bpf/btf.rst of the kernel.
#[derive(Default)]
struct Btf {
    structs: BTreeMap<String, Struct>,
    enums: BTreeMap<String, BTreeMap<String, u32>>,
}

struct Struct {
    size: usize,
    /// Name and offset in bytes, in order.
    members: Vec<(String, usize)>,
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn name_at(strings: &[u8], at: u32) -> String {
    let bytes = strings[at as usize..].split(|byte| *byte == 0).next().unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A section of a 64-bit ELF file.
fn section<'a>(elf: &'a [u8], wanted: &str) -> &'a [u8] {
    let u16_at = |at: usize| u16::from_ne_bytes(elf[at..at + 2].try_into().unwrap()) as usize;
    let u64_at = |at: usize| u64::from_ne_bytes(elf[at..at + 8].try_into().unwrap()) as usize;
    let (table, entry, count, names) = (u64_at(0x28), u16_at(0x3a), u16_at(0x3c), u16_at(0x3e));
    let content = |index: usize| {
        let (offset, size) = (u64_at(table + index * entry + 0x18), u64_at(table + index * entry + 0x20));
        &elf[offset..offset + size]
    };
    let index = (0..count).find(|index| name_at(content(names), u32_at(elf, table + index * entry)) == wanted);
    content(index.unwrap_or_else(|| panic!("no section {wanted}")))
}

fn parse(btf: &[u8]) -> Btf {
    let header = u32_at(btf, 4) as usize;
    let (types_at, types_len) = (u32_at(btf, 8) as usize, u32_at(btf, 12) as usize);
    let strings = &btf[header + u32_at(btf, 16) as usize..];
    let types = &btf[header + types_at..header + types_at + types_len];
    let mut parsed = Btf::default();
    let mut at = 0;
    while at < types.len() {
        let (name, info, size) = (name_at(strings, u32_at(types, at)), u32_at(types, at + 4), u32_at(types, at + 8));
        let (kind, count, flag) = (info >> 24 & 0x1f, (info & 0xffff) as usize, info >> 31);
        at += 12;
        let entry = |index: usize, size: usize| at + index * size;
        at += match kind {
            // Pointer, forward, typedef, volatile, const, restrict, function, float, type tag.
            2 | 7..=12 | 16 | 18 => 0,
            // Integer, variable, declaration tag.
            1 | 14 | 17 => 4,
            3 => 12,
            4 | 5 => {
                let members = (0..count).map(|index| {
                    let bits = u32_at(types, entry(index, 12) + 8);
                    // With the flag, the upper byte is a bit field's width.
                    let bits = if flag == 1 { bits & 0xff_ffff } else { bits };
                    (name_at(strings, u32_at(types, entry(index, 12))), bits as usize / 8)
                });
                let members = members.collect();
                parsed.structs.insert(name, Struct { size: size as usize, members });
                count * 12
            }
            6 => {
                let values =
                    (0..count).map(|i| (name_at(strings, u32_at(types, entry(i, 8))), u32_at(types, entry(i, 8) + 4)));
                parsed.enums.insert(name, values.collect());
                count * 8
            }
            13 => count * 8,
            15 => count * 12,
            other => panic!("BTF kind {other}"),
        };
    }
    parsed
}

#[test]
fn structs_are_those_of_the_kernel_programs() {
    let btf = parse(section(kerntrail_ebpf::object(), ".BTF"));
    for (name, size, fields) in LAYOUTS {
        let found = btf.structs.get(*name).unwrap_or_else(|| panic!("the object has no struct {name}"));
        assert_eq!(found.size, *size, "size of {name}");
        let expected: Vec<_> = fields.iter().map(|(field, offset, _)| ((*field).to_owned(), *offset)).collect();
        assert_eq!(found.members, expected, "fields of {name}");
    }
    // Nothing of the object is left out on this side but what never leaves the kernel.
    let inside = ["kt_records", "kt_socket", "kt_call", "kt_sockaddr"];
    let known = |name: &str| inside.contains(&name) || LAYOUTS.iter().any(|(known, ..)| *known == name);
    let unknown: Vec<_> = btf.structs.keys().filter(|name| name.starts_with("kt_") && !known(name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn constants_are_those_of_the_kernel_programs() {
    let btf = parse(section(kerntrail_ebpf::object(), ".BTF"));
    for (name, constants) in ENUMS {
        let found = btf.enums.get(*name).unwrap_or_else(|| panic!("the object has no enum {name}"));
        let expected = constants.iter().map(|(constant, value)| (format!("KT_{constant}"), *value)).collect();
        assert_eq!(*found, expected, "{name}");
    }
    let known = |name: &str| ENUMS.iter().any(|(known, _)| *known == name);
    let unknown: Vec<_> = btf.enums.keys().filter(|name| name.starts_with("kt_") && !known(name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}
