//! Where we may connect to. Who may name an address for us to call must not reach, through us, what
//! only we can reach (server-side request forgery).
//!
//! Blocks: IANA's special-purpose address registries for IPv4 and IPv6 (RFC 6890 and its updates).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Which addresses are allowed.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    /// Private ones as well.
    pub allow_private: bool,
    /// These in any case.
    pub allow: Vec<IpNet>,
}

impl Guard {
    /// Says why an address is not allowed.
    pub fn check(&self, address: IpAddr) -> Result<(), String> {
        let address = address.to_canonical();
        if self.allow.iter().any(|net| net.contains(&address)) {
            return Ok(());
        }
        let what = match address {
            IpAddr::V4(address) => special(address),
            IpAddr::V6(address) => special_v6(address),
        };
        match what {
            Some("multicast") => Err(format!("{address} is multicast, which nothing is sent to")),
            Some(_) if self.allow_private => Ok(()),
            Some(what) => Err(format!(
                "{address} is {what}; `delivery.allow_private` or `delivery.allow` would permit it"
            )),
            None => Ok(()),
        }
    }
}

fn special(address: Ipv4Addr) -> Option<&'static str> {
    let [a, b, c, _] = address.octets();
    match (a, b, c) {
        (0, ..) => Some("this host"),
        (10, ..) | (172, 16..=31, _) | (192, 168, _) => Some("private"),
        (100, 64..=127, _) => Some("shared by a carrier"),
        (127, ..) => Some("loopback"),
        (169, 254, _) => Some("link-local"),
        (192, 0, 0) | (192, 0, 2) | (192, 88, 99) | (198, 51, 100) | (203, 0, 113) => {
            Some("reserved")
        }
        (198, 18 | 19, _) => Some("for benchmarks"),
        (224..=239, ..) => Some("multicast"),
        (240.., ..) => Some("reserved"),
        _ => None,
    }
}

fn special_v6(address: Ipv6Addr) -> Option<&'static str> {
    let parts = address.segments();
    match parts {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("this host"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("loopback"),
        // An IPv4 address in other clothes: compatible, translated, 6to4.
        [0, 0, 0, 0, 0, 0, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => special(embedded(high, low)),
        [0x2002, high, low, ..] => special(embedded(high, low)),
        [0x64, 0xff9b, 1, ..] => Some("translated locally"),
        [0x100, 0, 0, 0, ..] => Some("discarded"),
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, ..] => Some("reserved"),
        [0xfc00..=0xfdff, ..] => Some("private"),
        [0xfe80..=0xfebf, ..] => Some("link-local"),
        [0xfec0..=0xfeff, ..] => Some("private"),
        [0xff00..=0xffff, ..] => Some("multicast"),
        _ => None,
    }
}

fn embedded(high: u16, low: u16) -> Ipv4Addr {
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    Ipv4Addr::new(a, b, c, d)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(guard: &Guard, address: &str, is_allowed: bool) {
        assert_eq!(guard.check(address.parse().unwrap()).is_ok(), is_allowed, "{address}");
    }

    const PRIVATE: [&str; 21] = [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "198.18.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:a9fe:a9fe",
        "::7f00:1",
        "::ffff:0:7f00:1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "fd12:3456::1",
        "fe80::1",
    ];

    #[test]
    fn what_only_we_can_reach_is_refused_in_all_its_clothes() {
        for address in PRIVATE {
            check(&Guard::default(), address, false);
            check(&Guard { allow_private: true, ..Guard::default() }, address, true);
        }
        for address in
            ["1.1.1.1", "172.32.0.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1"]
        {
            check(&Guard::default(), address, true);
        }
        check(&Guard { allow_private: true, ..Guard::default() }, "224.0.0.1", false);
        check(&Guard { allow_private: true, ..Guard::default() }, "ff02::1", false);
    }

    #[test]
    fn a_list_opens_what_it_names_and_no_more() {
        let guard = Guard { allow: vec!["10.0.0.0/8".parse().unwrap()], ..Guard::default() };
        check(&guard, "10.9.9.9", true);
        check(&guard, "::ffff:10.9.9.9", true);
        check(&guard, "192.168.0.1", false);
    }
}
