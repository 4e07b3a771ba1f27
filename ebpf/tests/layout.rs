//! What Rust declares is what the compiled object has: structs, enums, kinds, programs and maps.
//!
//! Both sides are complete: what leaves the kernel is called `kt_*` in C, and every function that is not static is a
//! program.

use std::collections::{BTreeMap, BTreeSet};

use kerntrail_ebpf::probes::{self, CONCERNS};

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

fn u16_at(bytes: &[u8], at: usize) -> usize {
    u16::from_ne_bytes(bytes[at..at + 2].try_into().unwrap()).into()
}

fn u64_at(bytes: &[u8], at: usize) -> usize {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap()) as usize
}

/// Name and content of the sections of a 64-bit ELF file, in order.
fn sections(elf: &[u8]) -> Vec<(String, &[u8])> {
    let (table, entry, count, names) = (u64_at(elf, 0x28), u16_at(elf, 0x3a), u16_at(elf, 0x3c), u16_at(elf, 0x3e));
    let content = |index: usize| {
        let header = table + index * entry;
        let (offset, size) = (u64_at(elf, header + 0x18), u64_at(elf, header + 0x20));
        // SHT_NOBITS has a size and no bytes.
        if u32_at(elf, header + 4) == 8 { &elf[..0] } else { &elf[offset..offset + size] }
    };
    (0..count).map(|index| (name_at(content(names), u32_at(elf, table + index * entry)), content(index))).collect()
}

fn section<'a>(elf: &'a [u8], wanted: &str) -> &'a [u8] {
    let found = sections(elf).into_iter().find(|(name, _)| name == wanted);
    found.unwrap_or_else(|| panic!("no section {wanted}")).1
}

/// Name and section of each global symbol of a type: 1 is an object, 2 a function.
fn globals(elf: &[u8], wanted: u8) -> BTreeSet<(String, String)> {
    let sections = sections(elf);
    let strings = section(elf, ".strtab");
    let symbols = section(elf, ".symtab").chunks_exact(24);
    let found = symbols.filter(|symbol| symbol[4] == 1 << 4 | wanted);
    found.map(|symbol| (name_at(strings, u32_at(symbol, 0)), sections[u16_at(symbol, 6)].0.clone())).collect()
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

fn own(name: &str) -> bool {
    name.starts_with("kt_")
}

#[test]
fn structs_match_the_object() {
    let btf = parse(section(kerntrail_ebpf::object(), ".BTF"));
    for layout in probes::layouts() {
        let name = layout.name;
        let found = btf.structs.get(name).unwrap_or_else(|| panic!("the object has no struct {name}"));
        assert_eq!(found.size, layout.size, "size of {name}");
        let expected: Vec<_> = layout.fields.iter().map(|field| (field.name.to_owned(), field.offset)).collect();
        assert_eq!(found.members, expected, "fields of {name}");
    }
    let declared: BTreeSet<_> = probes::layouts().map(|layout| layout.name).collect();
    let found: BTreeSet<_> = btf.structs.keys().map(String::as_str).filter(|name| own(name)).collect();
    assert_eq!(found, declared);
}

#[test]
fn enums_match_the_object() {
    let btf = parse(section(kerntrail_ebpf::object(), ".BTF"));
    let kinds = CONCERNS.iter().map(|concern| &concern.kinds);
    let declared: BTreeMap<_, _> = probes::enums().chain(kinds).map(|layout| (layout.name, layout.values)).collect();
    for (name, values) in &declared {
        let found = btf.enums.get(*name).unwrap_or_else(|| panic!("the object has no enum {name}"));
        let expected = values.iter().map(|(constant, value)| (format!("KT_{constant}"), *value)).collect();
        assert_eq!(*found, expected, "{name}");
    }
    let found: BTreeSet<_> = btf.enums.keys().map(String::as_str).filter(|name| own(name)).collect();
    assert_eq!(found, declared.into_keys().collect());
}

#[test]
fn programs_and_maps_match_the_object() {
    let object = kerntrail_ebpf::object();
    let probes = CONCERNS.iter().flat_map(|concern| concern.probes);
    let programs = probes.flat_map(|probe| probe.programs);
    let declared = programs.map(|program| (program.name.to_owned(), program.hook.section())).collect();
    assert_eq!(globals(object, 2), declared);
    let maps = globals(object, 1);
    for size in CONCERNS.iter().flat_map(|concern| concern.maps) {
        assert!(maps.contains(&(size.map.to_owned(), ".maps".to_owned())), "the object has no map {}", size.map);
    }
}

#[test]
fn probes_are_declared_after_what_they_depend_on() {
    let mut before = BTreeSet::new();
    for probe in CONCERNS.iter().flat_map(|concern| concern.probes) {
        assert!(probe.depends_on.is_none_or(|name| before.contains(name)), "{}", probe.name);
        assert!(before.insert(probe.name), "two probes are called {}", probe.name);
        assert!(!probe.programs.is_empty() && !probe.activities.is_empty(), "{}", probe.name);
    }
}
