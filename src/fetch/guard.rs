//! Which addresses may be connected to on behalf of a caller: public ones, and those the operator allows besides.
//!
//! Pure. An address passes because it is known to be public, not because it is unknown to be private: of IPv6 only
//! the global unicast range does. By the registries of special-purpose addresses of
//! [IPv4](https://www.iana.org/assignments/iana-ipv4-special-registry/) and
//! [IPv6](https://www.iana.org/assignments/iana-ipv6-special-registry/).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Where Azure's machines reach their host; it lies in a public range.
const AZURE_HOST: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

/// Tells the addresses that may be connected to from those that may not.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    allowed: Vec<IpNet>,
}

impl Guard {
    /// Lets through what is public, and the networks `allowed`.
    pub fn new(allowed: impl IntoIterator<Item = IpNet>) -> Self {
        Self { allowed: allowed.into_iter().collect() }
    }

    /// Whether `address` may be connected to. An IPv4 address in IPv6's clothes (`::ffff:10.0.0.1`) is judged as what
    /// it is.
    pub fn permits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        is_public(address) || self.allowed.iter().any(|network| network.contains(&address))
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let has_a_use = address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation();
    let is_reserved = matches!(
        address.octets(),
        // "This network"; carrier-grade NAT, where some clouds have their metadata; IETF protocol assignments; relays of
        // 6to4; benchmarks; the last sixteenth, with the broadcast address at its end.
        [0 | 240..=255, ..] | [100, 64..=127, ..] | [192, 0, 0, _] | [192, 88, 99, _] | [198, 18..=19, ..]
    );
    !has_a_use && !is_reserved && address != AZURE_HOST
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        // NAT64 and 6to4 lead to the IPv4 address that they hold.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => is_public_v4(embedded(high, low)),
        // IETF protocol assignments, Teredo among them; documentation, twice.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        // Outside this range lie loopback, link-local, site-local, unique local (AWS's fd00:ec2::254), multicast,
        // discard, and IPv4-compatible addresses.
        [first, ..] => (0x2000..=0x3fff).contains(&first),
    }
}

fn embedded(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(guard: &Guard, address: &str) -> bool {
        guard.permits(address.parse().unwrap())
    }

    #[test]
    fn public_addresses_pass_up_to_the_edges_of_what_does_not() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "168.63.129.15",
            "168.63.129.17",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.0.3.0",
            "192.88.98.255",
            "192.88.100.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "198.51.99.255",
            "198.51.101.0",
            "203.0.112.255",
            "203.0.114.0",
            "223.255.255.255",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
            "2002:101:101::1",
            "2000::",
            "2001:200::",
            "2001:db7:ffff::",
            "2001:db9::",
            "2606:4700::1111",
            "3ffe::",
            "3fff:1000::",
        ] {
            assert!(permits(&Guard::default(), address), "{address}");
        }
    }

    #[test]
    fn addresses_that_are_not_public_do_not_pass() {
        for address in [
            // This network, unspecified; private; carrier-grade NAT; loopback; link-local with the metadata services.
            "0.0.0.0",
            "0.255.255.255",
            "10.0.0.0",
            "10.255.255.255",
            "100.64.0.0",
            "100.100.100.200",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.0.0",
            "169.254.169.254",
            "169.254.170.2",
            "169.254.255.255",
            "172.16.0.0",
            "172.31.255.255",
            "192.168.0.0",
            "192.168.255.255",
            // Protocol assignments (Oracle's metadata is there), documentation, relays, benchmarks, Azure's host.
            "192.0.0.0",
            "192.0.0.192",
            "192.0.2.1",
            "198.51.100.1",
            "203.0.113.1",
            "192.88.99.1",
            "198.18.0.0",
            "198.19.255.255",
            "168.63.129.16",
            // Multicast, reserved, broadcast.
            "224.0.0.0",
            "239.255.255.255",
            "240.0.0.0",
            "255.255.255.254",
            "255.255.255.255",
            // IPv6: unspecified, loopback, link-local, site-local, unique local, multicast, discard, segment routing.
            "::",
            "::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "feff::1",
            "fc00::1",
            "fd00:ec2::254",
            "fdff::1",
            "ff02::1",
            "ff0e::1",
            "100::1",
            "5f00::1",
            "4000::",
            "1fff::",
            // IPv4 within IPv6: mapped, compatible, NAT64 (and its local prefix), 6to4, Teredo.
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:a00:1",
            "::127.0.0.1",
            "::1.1.1.1",
            "::10.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::1.1.1.1",
            "64:ff9b::1:0:101:101",
            "2002:a00:1::",
            "2002:7f00:1::1",
            "2002:a9fe:a9fe::",
            "2001::1",
            "2001:0:101:101::1",
            // Other protocol assignments (benchmarks, ORCHID), documentation.
            "2001:2::1",
            "2001:10::1",
            "2001:20::1",
            "2001:1ff:ffff::",
            "2001:db8::1",
            "3fff::1",
            "3fff:fff::1",
        ] {
            assert!(!permits(&Guard::default(), address), "{address}");
        }
    }

    #[test]
    fn an_allowed_network_passes_and_its_neighbours_do_not() {
        let guard = Guard::new(["10.1.2.0/24", "fd00:1::/32"].map(|network| network.parse().unwrap()));
        for address in ["10.1.2.0", "10.1.2.255", "::ffff:10.1.2.3", "fd00:1::5", "1.1.1.1"] {
            assert!(permits(&guard, address), "{address}");
        }
        // Where a translator or a tunnel would end is not known to be the network that is meant.
        for address in ["10.1.3.0", "127.0.0.1", "fd00:2::5", "64:ff9b::10.1.2.3", "2002:a01:203::1", "::10.1.2.3"] {
            assert!(!permits(&guard, address), "{address}");
        }
    }
}
