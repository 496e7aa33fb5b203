//! Addresses of layer two and three, and interface names.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Serialize};

/// Why a text is no MAC address, interface name or family.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {text:?} is not valid: {rule}")]
pub struct InvalidNet {
    what: &'static str,
    text: String,
    rule: &'static str,
}

/// An Ethernet address. An ENI is found in the kernel by its MAC, never by name: names change.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

impl FromStr for Mac {
    type Err = InvalidNet;
    fn from_str(text: &str) -> Result<Self, InvalidNet> {
        let bad = || InvalidNet {
            what: "MAC address",
            text: text.to_owned(),
            rule: "six pairs of hex digits with colons are expected",
        };
        let mut out = [0u8; 6];
        let mut parts = text.split(':');
        for byte in &mut out {
            let part = parts.next().filter(|p| p.len() == 2).ok_or_else(bad)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_ignored| bad())?;
        }
        if parts.next().is_some() { Err(bad()) } else { Ok(Self(out)) }
    }
}

impl TryFrom<String> for Mac {
    type Error = InvalidNet;
    fn try_from(text: String) -> Result<Self, InvalidNet> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> String {
        mac.to_string()
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, rest @ ..] = self.0;
        write!(f, "{first:02x}")?;
        rest.iter().try_for_each(|byte| write!(f, ":{byte:02x}"))
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A network interface name: 1 to 15 bytes, no slash, no white space, not `.` or `..` (kernel: `dev_valid_name`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IfName(String);

impl IfName {
    /// Longest name in bytes (`IFNAMSIZ` - 1).
    pub const MAX: usize = 15;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for IfName {
    type Error = InvalidNet;
    fn try_from(text: &str) -> Result<Self, InvalidNet> {
        let fine = (1..=Self::MAX).contains(&text.len())
            && text != "."
            && text != ".."
            && text.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '/' | ':'));
        if fine {
            return Ok(Self(text.to_owned()));
        }
        Err(InvalidNet {
            what: "interface name",
            text: text.chars().take(40).collect(),
            rule: "1 to 15 printable characters without '/', ':' and spaces",
        })
    }
}

impl TryFrom<String> for IfName {
    type Error = InvalidNet;
    fn try_from(text: String) -> Result<Self, InvalidNet> {
        Self::try_from(text.as_str())
    }
}

impl From<IfName> for String {
    fn from(name: IfName) -> String {
        name.0
    }
}

impl fmt::Display for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One of the two address families.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Family {
    /// IPv4.
    #[serde(rename = "IPv4")]
    V4,
    /// IPv6.
    #[serde(rename = "IPv6")]
    V6,
}

impl Family {
    /// Both, in the order in which we list addresses.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    pub fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// The families that every pod gets an address of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Families {
    /// IPv4 only.
    #[serde(rename = "IPv4")]
    V4,
    /// IPv6 only.
    #[serde(rename = "IPv6")]
    V6,
    /// Both.
    #[serde(rename = "DualStack")]
    Dual,
}

impl Families {
    /// The families as a list, IPv4 first.
    pub fn list(self) -> &'static [Family] {
        match self {
            Self::V4 => &[Family::V4],
            Self::V6 => &[Family::V6],
            Self::Dual => &[Family::V4, Family::V6],
        }
    }

    /// Whether `family` is wanted.
    pub fn has(self, family: Family) -> bool {
        self.list().contains(&family)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_survives_text_and_back_and_garbage_is_refused() {
        let mac: Mac = "00:16:3E:0a:00:ff".parse().unwrap();
        assert_eq!(mac.to_string(), "00:16:3e:0a:00:ff");
        for bad in ["", "00:16:3e", "00:16:3e:0a:00:ff:11", "0:16:3e:0a:00:ff", "zz:16:3e:0a:00:ff"]
        {
            assert!(bad.parse::<Mac>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn interface_names_that_the_kernel_refuses_are_refused_here() {
        for bad in ["", ".", "..", "a/b", "a b", "sixteen-letters0", "a:b"] {
            assert!(IfName::try_from(bad).is_err(), "{bad:?} was accepted");
        }
        IfName::try_from("eth0").unwrap();
    }
}
