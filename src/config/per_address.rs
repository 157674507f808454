//! Targets with `addresses: all`, from which the probe makes one target for each address of the name.
//!
//! A target with this setting is a template. The probe derives a target from it for each address,
//! and one without an address while the name has none.

use std::net::IpAddr;
use std::sync::Arc;

use super::address::Host;
use super::target::Target;
use crate::model::{Addresses, IpVersion};

/// The label that has the address. A target without an address has it with an empty value.
pub(super) const LABEL: &str = "ip";

/// The most octets that are appended to the name of a template: a space and an address.
pub(super) const MAX_SUFFIX: usize = " ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".len();

impl Target {
    /// The name whose lookups concern this target; `None` if the configuration has a literal address.
    #[must_use]
    pub fn lookup_name(&self) -> Option<&str> {
        match &self.address.host {
            Host::Name(name) => Some(name),
            Host::Ip(_) => self.resolved_from.as_deref(),
        }
    }

    /// The host name of this template, which becomes one target for each address of the name; `None` if
    /// this target is not a template.
    #[must_use]
    pub fn template_name(&self) -> Option<&str> {
        let name = self.address.host.dns_name()?;
        (self.addresses == Addresses::All).then_some(name)
    }

    /// The target for one address of a template's name: `NAME IP`, with the label `ip`.
    #[must_use]
    pub fn at(&self, ip: IpAddr) -> Self {
        let mut target = self.clone();
        target.resolved_from = self.template_name().map(Arc::from);
        target.address.host = Host::Ip(ip);
        target.addresses = Addresses::First;
        // A failed lookup of the other IP version does not concern it.
        target.ip_version = if ip.is_ipv4() { IpVersion::V4 } else { IpVersion::V6 };
        target.name = format!("{} {ip}", self.name);
        target.labels.insert(LABEL.to_owned(), ip.to_string());
        target
    }

    /// The target that takes the place of a template while its name has no address. It sends
    /// nothing.
    #[must_use]
    pub fn without_address(&self) -> Self {
        let mut target = self.clone();
        target.labels.insert(LABEL.to_owned(), String::new());
        target
    }
}

/// The name of the template that could give this name to one of its targets: the part before the
/// address at the end.
pub(super) fn possible_template(name: &str) -> Option<&str> {
    let (template, ip) = name.rsplit_once(' ')?;
    ip.parse::<IpAddr>().is_ok().then_some(template)
}

#[cfg(test)]
mod tests {
    use super::super::{Defaults, parse_target};
    use super::*;

    fn template(text: &str) -> Target {
        let target = parse_target(text, &Defaults::default()).unwrap();
        Target { addresses: Addresses::All, ..target }
    }

    #[test]
    fn a_template_gives_each_address_a_target_with_its_settings() {
        let mut template = template("stamp://fra.example:862");
        template.name = "fra".to_owned();
        template.labels.insert("site".to_owned(), "fra".to_owned());
        assert_eq!(template.template_name(), Some("fra.example"));
        for (ip, version) in [("192.0.2.7", IpVersion::V4), ("2001:db8::7", IpVersion::V6)] {
            let target = template.at(ip.parse().unwrap());
            assert_eq!(target.name, format!("fra {ip}"));
            assert_eq!(target.address.host, Host::Ip(ip.parse().unwrap()));
            assert_eq!(target.address.port, 862);
            assert_eq!((target.labels["site"].as_str(), target.labels["ip"].as_str()), ("fra", ip));
            assert_eq!(target.admitted_version(), version);
            assert_eq!(target.lookup_name(), Some("fra.example"));
            assert_eq!(target.template_name(), None);
            assert_eq!(possible_template(&target.name), Some("fra"));
        }
        let placeholder = template.without_address();
        assert_eq!((placeholder.name.as_str(), placeholder.labels["ip"].as_str()), ("fra", ""));
        assert_eq!(placeholder.template_name(), Some("fra.example"));
    }

    #[test]
    fn only_a_host_name_can_be_a_template() {
        for text in ["192.0.2.1", "[2001:db8::1]:862", "fe80::1%eth0"] {
            assert_eq!(template(text).template_name(), None, "{text}");
        }
        let first = Target { addresses: Addresses::First, ..template("fra.example") };
        assert_eq!(first.template_name(), None);
    }

    #[test]
    fn the_longest_suffix_fits() {
        let longest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap();
        let template = template("fra.example");
        assert_eq!(template.at(longest).name.len(), template.name.len() + MAX_SUFFIX);
        assert_eq!(possible_template("fra"), None);
        assert_eq!(possible_template("fra edge"), None);
    }
}
