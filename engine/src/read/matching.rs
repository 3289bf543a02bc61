//! When a text in a row is what a question asks for.
//!
//! Addresses compare as addresses, numbers as numbers where the catalogue says so, everything else as text.

use super::question::{Wanted, Where};
use crate::catalogue::Catalogue;
use crate::row::Row;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether a row fits all conditions.
#[inline]
pub fn fits(row: &Row, table: &[u8], wheres: &[Where], catalogue: &Catalogue) -> bool {
    // Of most questions there is none, and they ask it of each row.
    wheres.is_empty() || fits_all(row, table, wheres, catalogue)
}

fn fits_all(row: &Row, table: &[u8], wheres: &[Where], catalogue: &Catalogue) -> bool {
    wheres.iter().all(|condition| {
        let Some(text) = row.get(&condition.column) else {
            return false;
        };
        match &condition.text {
            Wanted::Is(asked) => {
                text == &**asked || catalogue.is_number(table, &condition.column) && numbers_equal(text, asked)
            }
            Wanted::Begins(asked) => text.starts_with(asked),
            Wanted::In(network) => network.holds(text),
        }
    })
}

/// Whether two texts are the same decimal number.
pub fn numbers_equal(a: &[u8], b: &[u8]) -> bool {
    match (Decimal::parse(a), Decimal::parse(b)) {
        (Some(a), Some(b)) => a == b,
        _ => false,
    }
}

/// Whether a text is a decimal number.
pub fn is_number(text: &[u8]) -> bool {
    Decimal::parse(text).is_some()
}

/// Whether a text is a number that could be written shorter or otherwise: not digits without leading zeros, perhaps
/// after a minus.
pub fn is_odd_number(text: &[u8]) -> bool {
    !is_plain_number(text) && Decimal::parse(text).is_some()
}

/// Whether a text is an integer that is written the shortest way.
pub fn is_plain_number(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    match digits {
        [b'0'] => digits.len() == text.len(),
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// A decimal number, exactly: sign, digits without zeros at either end, and the power of ten of the first digit.
#[derive(PartialEq, Eq)]
struct Decimal {
    negative: bool,
    digits: Vec<u8>,
    exponent: i64,
}

impl Decimal {
    /// `-?digits[.digits][e[+-]digits]`.
    fn parse(text: &[u8]) -> Option<Decimal> {
        let (negative, rest) = match text.split_first()? {
            (b'-', rest) => (true, rest),
            _ => (false, text),
        };
        let (mantissa, exponent) = match rest.iter().position(|byte| matches!(byte, b'e' | b'E')) {
            Some(at) => (&rest[..at], Some(&rest[at + 1..])),
            None => (rest, None),
        };
        let (whole, fraction) = match mantissa.iter().position(|&byte| byte == b'.') {
            Some(at) => (&mantissa[..at], Some(&mantissa[at + 1..])),
            None => (mantissa, None),
        };
        let number = |digits: &[u8]| !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
        if !number(whole) || fraction.is_some_and(|digits| !number(digits)) {
            return None;
        }
        let exponent = match exponent {
            Some(text) => {
                let digits = text.strip_prefix(b"+").or(text.strip_prefix(b"-")).unwrap_or(text);
                if !number(digits) {
                    return None;
                }
                let size =
                    digits.iter().fold(0i64, |n, digit| n.saturating_mul(10).saturating_add((digit - b'0').into()));
                if text[0] == b'-' { size.saturating_neg() } else { size }
            }
            None => 0,
        };
        let digits: Vec<u8> = whole.iter().chain(fraction.unwrap_or_default()).copied().collect();
        let Some(first) = digits.iter().position(|&digit| digit != b'0') else {
            return Some(Decimal { negative: false, digits: Vec::new(), exponent: 0 });
        };
        let last = digits.iter().rposition(|&digit| digit != b'0').unwrap_or(first);
        let exponent = exponent.saturating_add(whole.len() as i64 - first as i64);
        Some(Decimal { negative, digits: digits[first..=last].to_vec(), exponent })
    }
}

/// An address as a question or a row has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    ip: IpAddr,
    zone: Option<Vec<u8>>,
}

impl Address {
    /// Reads an address: IPv4-mapped IPv6 is IPv4, octets are decimal, a zone follows `%`, and is not empty. `None` if it is none.
    pub fn parse(text: &[u8]) -> Option<Address> {
        let (address, zone) = match text.iter().position(|&byte| byte == b'%') {
            Some(at) if at + 1 == text.len() => return None,
            Some(at) => (&text[..at], Some(text[at + 1..].to_vec())),
            None => (text, None),
        };
        let ip = match decimal_octets(address) {
            Some(_) if zone.is_some() => return None,
            Some(ip) => IpAddr::V4(ip),
            None => {
                let ip = ipv6(std::str::from_utf8(address).ok()?)?;
                ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4)
            }
        };
        Some(Address { ip, zone })
    }

    /// The address as IPv6, an IPv4 address mapped, so that addresses and networks are in order.
    pub fn key(&self) -> [u8; 16] {
        match self.ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
            IpAddr::V6(ip) => ip.octets(),
        }
    }

    /// Whether an address in a row is the one asked for: a zone that was asked for must match, none matches any.
    pub fn matches(&self, row: &Address) -> bool {
        self.ip == row.ip && (self.zone.is_none() || self.zone == row.zone)
    }
}

/// A network: all addresses that begin with the same bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    first: [u8; 16],
    last: [u8; 16],
}

/// The address and how many bits count, as an IPv6 network.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let free = u128::from_be_bytes(self.first) ^ u128::from_be_bytes(self.last);
        write!(f, "{}/{}", Ipv6Addr::from(self.first), free.leading_zeros())
    }
}

impl Network {
    /// Reads an address, a slash and how many bits count; the other bits of the address are of no account. An address
    /// alone is a network of one. `None` if it is neither.
    pub fn parse(text: &[u8]) -> Option<Network> {
        let (address, bits) = match text.iter().position(|&byte| byte == b'/') {
            Some(at) => (&text[..at], Some(&text[at + 1..])),
            None => (text, None),
        };
        let address = Address::parse(address).filter(|address| address.zone.is_none())?;
        let is_v4 = text.contains(&b'.') && !text.contains(&b':');
        let bits_max = if is_v4 { 32 } else { 128 };
        let bits = match bits {
            Some(bits) if !bits.is_empty() && bits.len() <= 3 && bits.iter().all(u8::is_ascii_digit) => {
                bits.iter().fold(0, |bits, digit| bits * 10 + u32::from(digit - b'0'))
            }
            Some(_) => return None,
            None => bits_max,
        };
        if bits > bits_max {
            return None;
        }
        let free = u128::MAX.checked_shr(bits + 128 - bits_max).unwrap_or(0);
        let key = u128::from_be_bytes(address.key());
        Some(Network { first: (key & !free).to_be_bytes(), last: (key | free).to_be_bytes() })
    }

    /// Whether a text is an address of the network; a zone is of no account.
    pub fn holds(&self, text: &[u8]) -> bool {
        Address::parse(text).is_some_and(|address| (self.first..=self.last).contains(&address.key()))
    }

    /// The [keys](Address::key) of its first and its last address.
    pub fn keys(&self) -> (&[u8; 16], &[u8; 16]) {
        (&self.first, &self.last)
    }
}

/// An IPv6 address, whose last four bytes may be written as octets.
fn ipv6(text: &str) -> Option<Ipv6Addr> {
    match text.rsplit_once(':') {
        Some((groups, octets)) if octets.contains('.') => {
            format!("{groups}:{}", decimal_octets(octets.as_bytes())?).parse().ok()
        }
        _ => text.parse().ok(),
    }
}

/// Four decimal octets; leading zeros do not make them octal.
fn decimal_octets(text: &[u8]) -> Option<Ipv4Addr> {
    let (mut octets, mut at, mut digits, mut value) = ([0u8; 4], 0, 0, 0u16);
    for &byte in text {
        match byte {
            b'0'..=b'9' if digits < 3 => (value, digits) = (value * 10 + u16::from(byte - b'0'), digits + 1),
            b'.' if digits > 0 && at < 3 => {
                octets[at] = u8::try_from(value).ok()?;
                (at, digits, value) = (at + 1, 0, 0);
            }
            _ => return None,
        }
    }
    octets[3] = u8::try_from(value).ok()?;
    (at == 3 && digits > 0).then(|| Ipv4Addr::from(octets))
}

/// Whether a row's text is the address asked for; texts that are no addresses compare as text.
pub fn address_fits(asked: &[u8], text: &[u8]) -> bool {
    if asked == text {
        return true;
    }
    match (Address::parse(asked), Address::parse(text)) {
        (Some(asked), Some(row)) => asked.matches(&row),
        (None, _) | (Some(_), None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_compare_as_addresses() {
        let same = [
            ("10.0.0.7", "::ffff:10.0.0.7"),
            ("10.0.0.7", "010.000.0.07"),
            ("10.0.0.7", "::ffff:010.0.0.07"),
            ("::1:10.0.0.7", "::1:a00:7"),
            ("2001:DB8::1", "2001:db8:0:0:0:0:0:1"),
            ("fe80::1", "fe80::1%eth0"),
            ("fe80::1%eth0", "fe80::1%eth0"),
            ("not an address", "not an address"),
        ];
        for (asked, row) in same {
            assert!(address_fits(asked.as_bytes(), row.as_bytes()), "{asked} is {row}");
        }
        let other =
            [("fe80::1%eth0", "fe80::1"), ("fe80::1%eth0", "fe80::1%eth1"), ("10.0.0.7", "10.0.0.70"), ("", "::")];
        for (asked, row) in other {
            assert!(!address_fits(asked.as_bytes(), row.as_bytes()), "{asked} is not {row}");
        }
    }

    #[test]
    fn networks_hold_their_addresses() {
        let holds = [
            ("10.0.0.0/8", "10.255.1.2"),
            ("10.9.8.7/8", "10.255.1.2"),
            ("10.0.0.0/8", "::ffff:10.1.2.3"),
            ("::ffff:10.0.0.0/104", "10.1.2.3"),
            ("10.0.0.7", "10.0.0.7"),
            ("10.0.0.6/31", "10.0.0.7"),
            ("0.0.0.0/0", "255.255.255.255"),
            ("::/0", "1.2.3.4"),
            ("fe80::/10", "fe80::1%eth0"),
            ("2001:db8::/33", "2001:db8:7fff::1"),
        ];
        for (network, address) in holds {
            let network = Network::parse(network.as_bytes()).unwrap_or_else(|| panic!("{network} is a network"));
            assert!(network.holds(address.as_bytes()), "{address} is in {network:?}");
        }
        let others = [
            ("10.0.0.0/8", "11.0.0.0"),
            ("10.0.0.6/31", "10.0.0.8"),
            ("0.0.0.0/0", "2001:db8::1"),
            ("2001:db8::/33", "2001:db8:8000::1"),
            ("10.0.0.0/8", "10.0.0"),
        ];
        for (network, address) in others {
            let network = Network::parse(network.as_bytes()).unwrap_or_else(|| panic!("{network} is a network"));
            assert!(!network.holds(address.as_bytes()), "{address} is not in {network:?}");
        }
        for none in
            ["", "/8", "10.0.0.0/", "10.0.0.0/33", "::/129", "10.0.0.0/8/8", "10.0.0.0/-1", "fe80::1%eth0/64", "a/8"]
        {
            assert_eq!(Network::parse(none.as_bytes()), None, "{none}");
        }
    }

    #[test]
    fn numbers_compare_by_value() {
        for (a, b) in [("1", "1.0"), ("1e3", "1000"), ("-0", "0"), ("007", "7"), ("0.50", "5e-1")] {
            assert!(numbers_equal(a.as_bytes(), b.as_bytes()), "{a} is {b}");
        }
        for (a, b) in [("1", "2"), ("1", "-1"), ("", "0"), ("1", "1x"), ("9007199254740993", "9007199254740992")] {
            assert!(!numbers_equal(a.as_bytes(), b.as_bytes()), "{a} is not {b}");
        }
    }
}
