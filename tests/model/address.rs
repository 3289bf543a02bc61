//! IP addresses as a question means them: by value, not by spelling.
//!
//! Must stay true: an IPv4-mapped IPv6 address is the IPv4 address; a zone asked for must match, none asked for matches
//! any; what is no address compares as text.

use super::wrong::Wrong;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Address {
    bytes: [u8; 16],
    zone: Option<Vec<u8>>,
}

/// Is the text of a row the address that was asked for?
pub(crate) fn is_same(asked: &[u8], held: &[u8], rules: Wrong) -> bool {
    match (parse(asked, rules), parse(held, rules)) {
        (Some(asked), Some(held)) => {
            let zone_fits = asked.zone.is_none() || asked.zone == held.zone || rules == Wrong::ZoneIgnored;
            asked.bytes == held.bytes && zone_fits
        }
        (None, None) => asked == held,
        _ => false,
    }
}

fn parse(text: &[u8], rules: Wrong) -> Option<Address> {
    if let Some(four) = ipv4(text) {
        return Some(Address { bytes: mapped(four), zone: None });
    }
    let (text, zone) = match text.iter().position(|&b| b == b'%') {
        Some(at) => (&text[..at], Some(text[at + 1..].to_vec())),
        None => (text, None),
    };
    if zone.as_ref().is_some_and(Vec::is_empty) {
        return None;
    }
    let mut bytes = ipv6(text)?;
    if rules == Wrong::MappedAddressNotEqual && bytes.starts_with(&mapped([0; 4])[..12]) {
        bytes[0] = 1;
    }
    Some(Address { bytes, zone })
}

/// The IPv6 form of an IPv4 address.
fn mapped(four: [u8; 4]) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[10] = 0xff;
    bytes[11] = 0xff;
    bytes[12..].copy_from_slice(&four);
    bytes
}

/// Four decimal octets of one to three digits.
fn ipv4(text: &[u8]) -> Option<[u8; 4]> {
    let parts: Vec<&[u8]> = text.split(|&b| b == b'.').collect();
    if parts.len() != 4 {
        return None;
    }
    let mut four = [0; 4];
    for (octet, part) in four.iter_mut().zip(parts) {
        if part.len() > 3 {
            return None;
        }
        *octet = u8::try_from(super::number::unsigned(part)?).ok()?;
    }
    Some(four)
}

/// Groups of sixteen bits, one run of them left out as `::`, the last two possibly as IPv4.
fn ipv6(text: &[u8]) -> Option<[u8; 16]> {
    let gap = text.windows(2).position(|two| two == b"::");
    let groups = match gap {
        None => groups(text)?,
        Some(at) if !text[..at].contains(&b'.') => {
            let (head, tail) = (groups_or_none(&text[..at])?, groups_or_none(&text[at + 2..])?);
            let zeros = 8_usize.checked_sub(head.len() + tail.len()).filter(|zeros| *zeros > 0)?;
            [head, vec![0; zeros], tail].concat()
        }
        Some(_) => return None,
    };
    if groups.len() != 8 {
        return None;
    }
    let mut bytes = [0; 16];
    for (at, group) in groups.into_iter().enumerate() {
        bytes[2 * at..2 * at + 2].copy_from_slice(&group.to_be_bytes());
    }
    Some(bytes)
}

fn groups_or_none(text: &[u8]) -> Option<Vec<u16>> {
    if text.is_empty() { Some(Vec::new()) } else { groups(text) }
}

fn groups(text: &[u8]) -> Option<Vec<u16>> {
    let parts: Vec<&[u8]> = text.split(|&b| b == b':').collect();
    let mut groups = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        if at + 1 == parts.len() && part.contains(&b'.') {
            let four = ipv4(part)?;
            groups.push(u16::from_be_bytes([four[0], four[1]]));
            groups.push(u16::from_be_bytes([four[2], four[3]]));
            continue;
        }
        if part.is_empty() || part.len() > 4 || !part.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        groups.push(u16::from_str_radix(std::str::from_utf8(part).ok()?, 16).ok()?);
    }
    Some(groups)
}
