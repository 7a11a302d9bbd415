//! Classes of addresses: what the public internet is, what `allow_private` opens, what nothing opens.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address may be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Any granted origin may lie there.
    Public,
    /// Loopback and the networks of homes and offices: only with `allow_private = true`.
    Private,
    /// Metadata services, link-local, multicast, reserved and transition ranges: never.
    Never,
}

use Class::{Never, Private};

/// Ranges that are not public, the narrow before the wide that holds it.
const V4: &[([u8; 4], u32, Class)] = &[
    ([0, 0, 0, 0], 8, Never), // "this network"; 0.0.0.0 reaches the machine itself
    ([10, 0, 0, 0], 8, Private), // RFC 1918
    ([100, 100, 100, 200], 32, Never), // metadata of a cloud, inside the carriers' range
    ([100, 64, 0, 0], 10, Private), // carrier-grade NAT, and overlay networks
    ([127, 0, 0, 0], 8, Private), // loopback
    ([168, 63, 129, 16], 32, Never), // a cloud's platform endpoint on a public address
    ([169, 254, 0, 0], 16, Never), // link-local, with the metadata address 169.254.169.254
    ([172, 16, 0, 0], 12, Private), // RFC 1918
    ([192, 0, 0, 0], 24, Never), // IETF protocol assignments
    ([192, 0, 2, 0], 24, Never), // documentation
    ([192, 88, 99, 0], 24, Never), // 6to4 relays, deprecated
    ([192, 168, 0, 0], 16, Private), // RFC 1918
    ([198, 18, 0, 0], 15, Never), // benchmarks
    ([198, 51, 100, 0], 24, Never), // documentation
    ([203, 0, 113, 0], 24, Never), // documentation
    ([224, 0, 0, 0], 4, Never), // multicast
    ([240, 0, 0, 0], 4, Never), // reserved, and broadcast
];

/// Ranges that differ from what surrounds them, the narrow before the wide that holds it. What is neither here nor
/// in `2000::/3` is no global unicast address.
const V6: &[(Ipv6Addr, u32, Class)] = &[
    (Ipv6Addr::LOCALHOST, 128, Private),
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), 128, Never), // metadata of a cloud
    (Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128, Never),  // metadata of a cloud
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, Private),         // unique local
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, Never), // protocol assignments, with Teredo
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, Never), // documentation
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, Never), // 6to4
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, Never), // documentation
    (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3, Class::Public), // global unicast
];

/// The class of an address. IPv4 addresses inside of IPv6 ones count as what they lead to.
pub(crate) fn classify(address: IpAddr) -> Class {
    match address {
        IpAddr::V4(v4) => classify_v4(v4),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => classify_v4(v4),
            None => classify_v6(v6),
        },
    }
}

fn classify_v4(address: Ipv4Addr) -> Class {
    let bits = address.to_bits();
    let within =
        |net: [u8; 4], length: u32| (bits ^ Ipv4Addr::from(net).to_bits()) >> (32 - length) == 0;
    V4.iter().find(|(net, length, _)| within(*net, *length)).map_or(Class::Public, |found| found.2)
}

fn classify_v6(address: Ipv6Addr) -> Class {
    if let [0x64, 0xff9b, 0, 0, 0, 0, high, low] = address.segments() {
        // NAT64 leads to the internet only; its prefix before a private address is a detour around this table.
        let embedded = Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
        return match classify_v4(embedded) {
            Class::Public => Class::Public,
            Private | Never => Never,
        };
    }
    let bits = address.to_bits();
    let within = |net: Ipv6Addr, length: u32| (bits ^ net.to_bits()) >> (128 - length) == 0;
    V6.iter().find(|(net, length, _)| within(*net, *length)).map_or(Never, |found| found.2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn class(address: &str) -> Class {
        classify(address.parse().unwrap())
    }

    #[test]
    fn the_internet_is_public() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00::1",
            "2001:4860::8888",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
        ] {
            assert_eq!(class(address), Class::Public, "{address}");
        }
    }

    #[test]
    fn homes_offices_and_the_machine_itself_are_private() {
        for address in [
            "127.0.0.1",
            "127.255.255.255",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "100.127.255.255",
            "::1",
            "fc00::1",
            "fd12:3456::1",
            "::ffff:127.0.0.1",
            "::ffff:10.1.2.3",
            "::ffff:7f00:1",
        ] {
            assert_eq!(class(address), Private, "{address}");
        }
    }

    #[test]
    fn what_no_grant_opens() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "169.254.0.1",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.1",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::127.0.0.1",
            "::8.8.8.8",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "64:ff9b:1::8.8.8.8",
            "100::1",
            "2001::1",
            "2001:10::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "2002:808:808::1",
            "3fff::1",
            "4000::1",
            "5f00::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "fd00:ec2::254",
            "fd20:ce::254",
        ] {
            assert_eq!(class(address), Never, "{address}");
        }
    }

    proptest! {
        #[test]
        fn a_mapped_address_is_what_it_leads_to(bits in any::<u32>()) {
            let v4 = Ipv4Addr::from_bits(bits);
            prop_assert_eq!(classify(v4.to_ipv6_mapped().into()), classify(v4.into()));
        }

        #[test]
        fn nat64_opens_nothing_that_the_address_itself_would_not(bits in any::<u32>()) {
            let v4 = Ipv4Addr::from_bits(bits);
            let [a, b, c, d] = v4.octets();
            let nat64: IpAddr = format!("64:ff9b::{a}.{b}.{c}.{d}").parse().unwrap();
            prop_assert_eq!(classify(nat64) == Class::Public, classify(v4.into()) == Class::Public);
            prop_assert_ne!(classify(nat64), Private);
        }
    }
}
