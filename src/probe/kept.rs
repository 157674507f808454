//! The addresses of a name that has a target for each of them. Pure.
//!
//! The addresses of an IP version are kept while lookups fail, until a name server answers that
//! there is none: a name server that does not answer says nothing about the servers of a name.

use std::net::{IpAddr, SocketAddr};

use crate::model::{Found, IpVersion};

/// The addresses of a name, by the lookups so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Kept {
    /// Sorted, IPv4 first, each once.
    ips: Vec<IpAddr>,
    left_out: usize,
}

impl Kept {
    /// The addresses by one lookup.
    pub(super) fn of(found: &Found) -> Self {
        let mut kept = Self::default();
        kept.learn(found);
        kept
    }

    /// The addresses, sorted.
    pub(super) fn ips(&self) -> &[IpAddr] {
        &self.ips
    }

    /// How many addresses of the name are too many; see [`Found::MAX`].
    pub(super) fn left_out(&self) -> usize {
        self.left_out
    }

    /// The name was looked up. Returns whether its addresses have changed.
    pub(super) fn learn(&mut self, found: &Found) -> bool {
        let mut ips: Vec<IpAddr> = Vec::new();
        for version in [IpVersion::V4, IpVersion::V6] {
            match found.of(version) {
                Ok(new) => ips.extend(new.iter().map(SocketAddr::ip)),
                Err(why) if why.is_definite() => {}
                Err(_) => ips.extend(self.ips.iter().filter(|ip| version.includes(**ip))),
            }
        }
        ips.sort_unstable();
        ips.dedup();
        if found.of(IpVersion::Auto).is_ok() {
            self.left_out = found.left_out();
        }
        let has_changed = ips != self.ips;
        self.ips = ips;
        has_changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Label as _, LookupFailure};

    type Answer<'a> = Result<&'a [&'a str], LookupFailure>;

    fn found(v4: Answer<'_>, v6: Answer<'_>) -> Found {
        let [v4, v6] = [v4, v6].map(|answer| {
            answer.map(|ips| {
                ips.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 0)).collect::<Vec<_>>()
            })
        });
        Found::new(v4, v6)
    }

    fn shown(kept: &Kept) -> Vec<String> {
        kept.ips().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_order_of_the_answer_does_not_matter() {
        let mut kept = Kept::of(&found(Ok(&["192.0.2.2", "192.0.2.1"]), Ok(&["2001:db8::1"])));
        assert_eq!(shown(&kept), ["192.0.2.1", "192.0.2.2", "2001:db8::1"]);
        assert!(!kept.learn(&found(Ok(&["192.0.2.1", "192.0.2.2"]), Ok(&["2001:db8::1"]))));
        assert!(kept.learn(&found(Ok(&["192.0.2.1", "192.0.2.3"]), Ok(&["2001:db8::1"]))));
        assert_eq!(shown(&kept), ["192.0.2.1", "192.0.2.3", "2001:db8::1"]);
    }

    #[test]
    fn only_a_definite_failure_of_an_ip_version_removes_its_addresses() {
        let both = found(Ok(&["192.0.2.1"]), Ok(&["2001:db8::1"]));
        for &why in LookupFailure::ALL {
            let mut kept = Kept::of(&both);
            assert_eq!(kept.learn(&found(Err(why), Ok(&["2001:db8::1"]))), why.is_definite());
            let v4 = if why.is_definite() { vec![] } else { vec!["192.0.2.1"] };
            assert_eq!(shown(&kept), [v4.clone(), vec!["2001:db8::1"]].concat(), "{why}");
            // The addresses of the other version may change meanwhile.
            assert!(kept.learn(&found(Err(why), Ok(&["2001:db8::2"]))));
            assert_eq!(shown(&kept), [v4, vec!["2001:db8::2"]].concat(), "{why}");
            let mut kept = Kept::of(&both);
            assert_eq!(kept.learn(&Found::failed(why)), why.is_definite(), "{why}");
            assert_eq!(kept.ips().is_empty(), why.is_definite(), "{why}");
            assert!(Kept::of(&Found::failed(why)).ips().is_empty());
        }
    }

    #[test]
    fn the_number_of_addresses_that_are_left_out_is_that_of_the_last_success() {
        let all: Vec<_> = (1..=100).map(|n| format!("192.0.2.{n}")).collect();
        let all: Vec<_> = all.iter().map(String::as_str).collect();
        let mut kept = Kept::of(&found(Ok(&all), Ok(&[])));
        assert_eq!((kept.ips().len(), kept.left_out()), (Found::MAX, 100 - Found::MAX));
        kept.learn(&Found::failed(LookupFailure::Timeout));
        assert_eq!(kept.left_out(), 100 - Found::MAX);
        kept.learn(&found(Ok(&all[..3]), Ok(&[])));
        assert_eq!(kept.left_out(), 0);
    }
}
