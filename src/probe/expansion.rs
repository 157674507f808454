//! From the targets of a configuration to those that are probed: a template becomes one target for
//! each address of its name. Pure.

use std::net::IpAddr;
use std::sync::Arc;

use crate::config::Target;

/// The targets to probe for `configured`, in the same order. The targets of a template are in the
/// order of their addresses.
/// `ips` returns the known addresses of a name, sorted.
///
/// A template whose name has no address of its IP version becomes a target without an address.
pub(super) fn expand(
    configured: &[Arc<Target>],
    ips: impl Fn(&str) -> Vec<IpAddr>,
) -> Vec<Arc<Target>> {
    let mut targets = Vec::with_capacity(configured.len());
    for target in configured {
        let Some(name) = target.template_name() else {
            targets.push(target.clone());
            continue;
        };
        let version = target.admitted_version();
        let before = targets.len();
        let admitted = ips(name).into_iter().filter(|ip| version.includes(*ip));
        targets.extend(admitted.map(|ip| Arc::new(target.at(ip))));
        if targets.len() == before {
            targets.push(Arc::new(target.without_address()));
        }
    }
    targets
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::collection::{btree_map, btree_set, vec};
    use proptest::prelude::*;

    use super::*;
    use crate::config::{Defaults, parse_target, unique_names};
    use crate::model::{Addresses, IpVersion};

    fn target(name: &str, host: &str, version: IpVersion, addresses: Addresses) -> Arc<Target> {
        let target = parse_target(host, &Defaults::default()).unwrap();
        Arc::new(Target { name: name.to_owned(), ip_version: version, addresses, ..target })
    }

    fn expanded(configured: &[Arc<Target>], known: &[(&str, &[&str])]) -> Vec<String> {
        let targets = expand(configured, |name| {
            let of = known.iter().find(|(known, _)| *known == name);
            of.map_or(Vec::new(), |(_, ips)| ips.iter().map(|ip| ip.parse().unwrap()).collect())
        });
        let shown = |target: &Arc<Target>| {
            let ip = target.labels.get("ip").map_or("-", |ip| ip.as_str());
            format!("{} at {} ip={ip}", target.name, target.address.host)
        };
        targets.iter().map(shown).collect()
    }

    #[test]
    fn a_template_has_a_target_for_each_address_of_its_ip_version() {
        use Addresses::{All, First};
        let configured = [
            target("one", "pool.example", IpVersion::Auto, First),
            target("each", "pool.example", IpVersion::Auto, All),
            target("four", "pool.example", IpVersion::V4, All),
            target("six", "four.example", IpVersion::V6, All),
            target("last", "192.0.2.9", IpVersion::Auto, First),
            target("never", "never.example", IpVersion::Auto, All),
        ];
        let known: [(&str, &[&str]); 2] = [
            ("pool.example", &["192.0.2.1", "192.0.2.2", "2001:db8::1"]),
            ("four.example", &["192.0.2.3"]),
        ];
        assert_eq!(
            expanded(&configured, &known),
            [
                "one at pool.example ip=-",
                "each 192.0.2.1 at 192.0.2.1 ip=192.0.2.1",
                "each 192.0.2.2 at 192.0.2.2 ip=192.0.2.2",
                "each 2001:db8::1 at 2001:db8::1 ip=2001:db8::1",
                "four 192.0.2.1 at 192.0.2.1 ip=192.0.2.1",
                "four 192.0.2.2 at 192.0.2.2 ip=192.0.2.2",
                "six at four.example ip=",
                "last at 192.0.2.9 ip=-",
                "never at never.example ip=",
            ]
        );
    }

    fn ip() -> impl Strategy<Value = IpAddr> {
        (0..20_u8, any::<bool>()).prop_map(|(n, is_v4)| {
            if is_v4 {
                [192, 0, 2, n].into()
            } else {
                [0x2001, 0xdb8, 0, 0, 0, 0, 0, n.into()].into()
            }
        })
    }

    fn configuration() -> impl Strategy<Value = Vec<Arc<Target>>> {
        // Names that could be those of other targets with an address.
        let name = prop_oneof!["[ab]", "[ab] 192\\.0\\.2\\.[0-9]", "[ab] 2001:db8::[0-9]"];
        let host = prop_oneof![Just("a.example"), Just("b.example"), Just("192.0.2.7")];
        let version = proptest::sample::select(IpVersion::ALL.to_vec());
        let addresses = proptest::sample::select(Addresses::ALL.to_vec());
        let one = (name, host, version, addresses)
            .prop_map(|(name, host, version, addresses)| target(&name, host, version, addresses));
        vec(one, 0..12).prop_filter("unique names", |targets| unique_names(targets).is_ok())
    }

    proptest! {
        /// Whatever addresses the names have: the names of the targets are unique, and each target
        /// is for one address of its template.
        #[test]
        fn names_are_unique_whatever_the_addresses(
            configured in configuration(),
            known in btree_map("[ab]\\.example", btree_set(ip(), 0..9), 0..3),
        ) {
            let ips = |name: &str| known.get(name).map_or(Vec::new(), |ips| ips.iter().copied().collect());
            let targets = expand(&configured, ips);
            prop_assert!(unique_names(&targets).is_ok());
            let mut left: BTreeMap<&str, &Arc<Target>> =
                targets.iter().map(|target| (target.name.as_str(), target)).collect();
            for target in &configured {
                let Some(name) = target.template_name() else {
                    prop_assert_eq!(left.remove(target.name.as_str()), Some(target));
                    continue;
                };
                let wanted: BTreeSet<_> =
                    ips(name).into_iter().filter(|ip| target.ip_version.includes(*ip)).collect();
                for ip in &wanted {
                    let own = left.remove(format!("{} {ip}", target.name).as_str());
                    prop_assert_eq!(own, Some(&Arc::new(target.at(*ip))));
                }
                if wanted.is_empty() {
                    let own = left.remove(target.name.as_str());
                    prop_assert_eq!(own, Some(&Arc::new(target.without_address())));
                }
            }
            prop_assert!(left.is_empty(), "{left:?}");
        }
    }
}
