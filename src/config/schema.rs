//! Checks a tree of values against the known keys and their ranges, and returns a [`Config`] or all
//! problems.
//!
//! Each mapping of a file is a [`Level`](super::level::Level). A new key is one word in its level,
//! and one line where the level is read.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::path::Path as Folder;
use std::sync::Arc;

use super::address::{Address, Host};
use super::argument::Endpoint;
use super::common_keys::CommonKeys;
use super::conflict;
use super::key::{KeyFile, absolute};
use super::level::{DEFAULTS, FILE, OPTIONS, TARGET};
use super::node::Node;
use super::packet_keys::{self, PacketKeys};
use super::packets::check_packets;
use super::per_address::{LABEL, MAX_SUFFIX};
use super::place::{At, Path};
use super::problem::Findings;
use super::scalars::{Interval, Span, foreign_option};
use super::target::{Config, Defaults, Target, in_flight};
use super::values::{self, MAX_NAME};
use super::walk::{Fields, Walk, enumerate};
use crate::model::{Addresses, IpVersion, ip_version};
use crate::wire::{FiledKey, Key, OptionSource, Protocol, ProtocolOptions};

/// Checks a whole file. Paths in it are relative to `folder`.
pub(super) fn check(root: &Node<'_>, folder: &Folder) -> Result<Config, Findings> {
    // The more general level comes first: a shared setting belongs under defaults.
    let walk = Walk::new(vec![&FILE, &DEFAULTS, &TARGET]);
    let mut checker = Checker { walk, folder, keys: HashMap::new() };
    let config = checker.file(&Path::Root { at: root.at }, root);
    checker.walk.finish(config)
}

/// Checks values that are more than a key with a type.
struct Checker<'f> {
    walk: Walk,
    /// The folder that paths of other files are relative to.
    folder: &'f Folder,
    /// The shared keys that have been read, by the path of the key file; for an invalid file, the
    /// message.
    keys: HashMap<String, Result<Arc<Key>, String>>,
}

/// A target that has not been compared with the others yet.
struct Candidate {
    name: Option<TargetName>,
    /// The target, if its name and address are valid.
    target: Option<Target>,
}

/// The name of a target, and the entry that it is from: `name` or `address`.
struct TargetName {
    text: String,
    key: &'static str,
    at: At,
}

impl Checker<'_> {
    fn file(&mut self, path: &Path<'_>, node: &Node<'_>) -> Config {
        let mut config = Config::default();
        let Some(fields) = self.walk.fields(path, node, &FILE) else {
            return config;
        };
        if let Some((path, node)) = fields.entry(path, "defaults") {
            config.defaults = self.defaults(&path, node);
        }
        if let Some((path, node)) = fields.entry(path, "rtt_buckets") {
            config.rtt_buckets = self.rtt_buckets(&path, node);
        }
        if let Some((path, node)) = fields.entry(path, "targets") {
            config.targets = self.targets(&path, node, &config.defaults);
        }
        config
    }

    fn defaults(&mut self, path: &Path<'_>, node: &Node<'_>) -> Defaults {
        let built_in = Defaults::default();
        let Some(fields) = self.walk.fields(path, node, &DEFAULTS) else {
            return built_in;
        };
        self.settings(path, &fields, &built_in, None).or(&built_in)
    }

    fn rtt_buckets(&mut self, path: &Path<'_>, node: &Node<'_>) -> Vec<f64> {
        let items = self.walk.list(path, node, "seconds", &[]);
        if items.is_some_and(<[Node<'_>]>::is_empty) {
            self.walk.report(path, || "must not be empty: omit the key for the default buckets");
        }
        let mut bounds: Vec<f64> = Vec::new();
        for (path, node) in enumerate(path, items.unwrap_or_default()) {
            let bound = match values::bound(node) {
                Ok(bound) => bound,
                Err(message) => {
                    self.walk.report(&path, || message);
                    continue;
                }
            };
            let nanos = values::nanos(bound);
            if let Some(last) = bounds.last().filter(|&&last| values::nanos(last) >= nanos) {
                self.walk.report(&path, || format!("must be more than {last}, the previous bound"));
            }
            bounds.push(bound);
        }
        bounds
    }

    fn targets(
        &mut self,
        path: &Path<'_>,
        node: &Node<'_>,
        defaults: &Defaults,
    ) -> Vec<Arc<Target>> {
        let items = self.walk.list(path, node, "targets", &TARGET.keys).unwrap_or_default();
        let candidates: Vec<_> =
            enumerate(path, items).map(|(path, node)| self.target(&path, node, defaults)).collect();
        self.check_names(path, items, &candidates);
        self.check_distinct(path, items, &candidates);
        candidates.into_iter().filter_map(|candidate| candidate.target).map(Arc::new).collect()
    }

    fn target(&mut self, path: &Path<'_>, node: &Node<'_>, defaults: &Defaults) -> Candidate {
        let Some(fields) = self.walk.fields(path, node, &TARGET) else {
            return Candidate { name: None, target: None };
        };
        let endpoint = self.endpoint(path, &fields);
        let prefix = endpoint.as_ref().and_then(|endpoint| endpoint.protocol);
        let settings = self.settings(path, &fields, defaults, prefix);
        let default_port = defaults.port_of(settings.protocol.unwrap_or(defaults.protocol));
        let address = endpoint
            .map(|endpoint| self.address(path, &fields, endpoint, settings.port, default_port));
        if let Some(address) = &address {
            self.check_ip_version(path, &fields, address, settings.ip_version);
        }
        let addresses =
            self.addresses(path, &fields, address.as_ref(), settings.addresses, defaults);
        let labels = match fields.entry(path, "labels") {
            Some((path, node)) => self.labels(&path, node),
            None => BTreeMap::new(),
        };
        let name = self.name(path, &fields);
        let protocol = self.protocol(path, &fields, settings.protocol, defaults);
        let settings = settings.or(defaults);
        let check = |it| check_packets(it, settings.ip_version, &settings.packets);
        if let Some(Err(conflict)) = address.as_ref().map(check) {
            let key = conflict.key();
            match fields.entry(path, key) {
                Some((path, _)) => self.walk.report(&path, || conflict),
                // It is from the defaults.
                None => self.walk.report(path, || format!("{key} {conflict}")),
            }
        }
        let target = name.as_ref().zip(address).map(|(name, address)| Target {
            addresses,
            protocol,
            labels,
            ..settings.target(name.text.clone(), address)
        });
        Candidate { name, target }
    }

    /// The protocol of a target with its options. `own` is the protocol that it names, with the key
    /// or in the address.
    fn protocol(
        &mut self,
        path: &Path<'_>,
        fields: &Fields<'_>,
        own: Option<Protocol>,
        defaults: &Defaults,
    ) -> ProtocolOptions {
        let protocol = own.unwrap_or(defaults.protocol);
        let address = fields.entry(path, "address").and_then(|(_, node)| values::text(node).ok());
        let has_prefix = address.is_some_and(|address| address.contains("://"));
        // The options of an unknown protocol are not known either.
        if own.is_none() && (has_prefix || fields.index("protocol").is_some()) {
            return protocol.default_options();
        }
        for &key in OPTIONS.iter().filter(|key| !protocol.keys().contains(key)) {
            if let Some((path, _)) = fields.entry(path, key) {
                self.walk.report(&path, || foreign_option(key, protocol));
            }
        }
        protocol.options(&mut TargetKeys { checker: self, path, fields })
    }

    /// The key in the key file `file`. Each key file is read once.
    fn key(&mut self, file: &str) -> Result<Arc<Key>, String> {
        let folder = self.folder;
        let key = self.keys.entry(file.to_owned()).or_insert_with_key(|file| {
            let read = KeyFile::read(&folder.join(file));
            read.map(|key| Arc::new(key.into_key())).map_err(|error| error.to_string())
        });
        key.clone()
    }

    /// The settings of a target or of `defaults`; `None` where they are missing. `fallback` has the
    /// missing ones for the check of the timeout; `prefix` is the protocol in the address.
    fn settings(
        &mut self,
        path: &Path<'_>,
        fields: &Fields<'_>,
        fallback: &Defaults,
        prefix: Option<Protocol>,
    ) -> CommonKeys {
        let protocol = self.walk.value(path, fields, "protocol", |node| {
            let own = values::protocol(node)?;
            match prefix.filter(|prefix| *prefix != own) {
                None => Ok(own),
                Some(prefix) => {
                    let (own, prefix) = (own.name(), prefix.name());
                    Err(format!("is {own}, but the protocol in the address is {prefix}"))
                }
            }
        });
        let settings = CommonKeys {
            protocol: protocol.or(prefix.filter(|_| fields.entry(path, "protocol").is_none())),
            port: self.walk.value(path, fields, "port", values::port),
            ip_version: self.walk.value(path, fields, "ip_version", values::ip_version),
            addresses: self.walk.value(path, fields, "addresses", values::addresses),
            interval: self
                .walk
                .value(path, fields, "interval", values::duration)
                .map(Interval::duration),
            timeout: self.walk.value(path, fields, "timeout", values::duration).map(Span::duration),
            misses: self.walk.value(path, fields, "misses", values::count),
            recoveries: self.walk.value(path, fields, "recoveries", values::count),
            recorder: self.walk.value(path, fields, "recorder", values::recorder),
            packets: PacketKeys {
                source: self.walk.value(path, fields, "source", packet_keys::source),
                interface: self.walk.value(path, fields, "interface", packet_keys::interface),
                dscp: self.walk.value(path, fields, "dscp", packet_keys::dscp),
                ttl: self.walk.value(path, fields, "ttl", packet_keys::ttl),
                dont_fragment: self.walk.value(
                    path,
                    fields,
                    "dont_fragment",
                    packet_keys::dont_fragment,
                ),
            },
        };
        self.check_in_flight(path, fields, &settings, fallback);
        settings
    }

    /// Reports a timeout that is too long for the interval and the protocol, if at least one of the
    /// three is set here. Settings of `defaults` that are wrong together are thus reported there, and
    /// not on each target.
    fn check_in_flight(
        &mut self,
        path: &Path<'_>,
        fields: &Fields<'_>,
        settings: &CommonKeys,
        fallback: &Defaults,
    ) {
        let [interval, timeout, mut protocol] =
            ["interval", "timeout", "protocol"].map(|key| fields.entry(path, key));
        let wrong = (interval.is_some() && settings.interval.is_none())
            || (timeout.is_some() && settings.timeout.is_none())
            || (protocol.is_some() && settings.protocol.is_none());
        let check = |Defaults { protocol, interval, timeout, .. }: Defaults| {
            in_flight(protocol, interval, timeout)
        };
        if protocol.is_none() && settings.protocol.is_some() {
            protocol = fields.entry(path, "address");
        }
        // A protocol that is set alone is wrong only if the fallback is valid without it.
        let protocol = protocol.filter(|_| check(*fallback).is_ok());
        let Some((path, _)) = timeout.or(interval).or(protocol).filter(|_| !wrong) else {
            return;
        };
        if let Err(error) = check(settings.or(fallback)) {
            self.walk.report(&path, || error);
        }
    }

    /// The value of the key `address`.
    fn endpoint(&mut self, path: &Path<'_>, fields: &Fields<'_>) -> Option<Endpoint> {
        if fields.index("address").is_none() {
            self.walk.report(path, || "has no address");
        }
        self.walk.value(path, fields, "address", values::endpoint)
    }

    /// The address of a target. `own` is the value of its key `port`. If neither that key nor the
    /// endpoint gives a port, `default` is used.
    fn address(
        &mut self,
        path: &Path<'_>,
        fields: &Fields<'_>,
        Endpoint { host, port: written, .. }: Endpoint,
        own: Option<u16>,
        default: u16,
    ) -> Address {
        if let Some(((path, _), (own, written))) = fields.entry(path, "port").zip(own.zip(written))
            && own != written
        {
            self.walk
                .report(&path, || format!("is {own}, but the port in the address is {written}"));
        }
        Address { host, port: written.or(own).unwrap_or(default) }
    }

    /// Reports an `ip_version` of the target that its literal address does not have.
    fn check_ip_version(
        &mut self,
        path: &Path<'_>,
        fields: &Fields<'_>,
        address: &Address,
        own: Option<IpVersion>,
    ) {
        if let (Host::Ip(ip), Some((path, _))) = (&address.host, fields.entry(path, "ip_version"))
            && let Some(own) = own.filter(|own| !own.includes(*ip))
        {
            self.walk.report(&path, || {
                let (own, version) = (own.word(), ip_version(*ip));
                format!("is {own}, but the address is an IPv{version} address: remove the key")
            });
        }
    }

    /// Which addresses of a target's name are probed. `own` is the value of its key `addresses`.
    /// Reports settings that a target with `addresses: all` cannot have.
    fn addresses(
        &mut self,
        path: &Path<'_>,
        fields: &Fields<'_>,
        address: Option<&Address>,
        own: Option<Addresses>,
        defaults: &Defaults,
    ) -> Addresses {
        let is_name = address.is_some_and(|address| address.host.dns_name().is_some());
        if own.unwrap_or(defaults.addresses) == Addresses::First {
            return Addresses::First;
        }
        if !is_name {
            // Under defaults, the key is for the targets that have names.
            if let (Some(_), Some(_), Some((path, _))) =
                (address, own, fields.entry(path, "addresses"))
            {
                self.walk
                    .report(&path, || "is all, but the address is not a host name: remove the key");
            }
            return Addresses::First;
        }
        if let Some((path, node)) = fields.entry(path, "labels") {
            let entries = node.entries().unwrap_or_default().iter();
            for (key, _) in entries.filter(|(key, _)| key.word() == LABEL) {
                self.walk.report(&path.entry(LABEL, key.at), || {
                    format!(
                        "reserved label name {LABEL:?}: `addresses: all` sets it to the address"
                    )
                });
            }
        }
        if let Some((path, node)) = fields.entry(path, "name")
            && let Ok(name) = values::name(node)
            && name.len() + MAX_SUFFIX > MAX_NAME
        {
            self.walk.report(&path, || {
                let (len, most) = (name.len(), MAX_NAME - MAX_SUFFIX);
                format!("has {len} octets: must have at most {most}, because `addresses: all` appends the address")
            });
        }
        Addresses::All
    }

    /// The name of a target: the value of `name`, or the address as written.
    fn name(&mut self, path: &Path<'_>, fields: &Fields<'_>) -> Option<TargetName> {
        if let Some((place, _)) = fields.entry(path, "name") {
            let text = self.walk.value(path, fields, "name", values::name)?;
            return Some(TargetName { text, key: "name", at: place.at() });
        }
        let (place, node) = fields.entry(path, "address")?;
        let text = values::text(node).ok()?.to_owned();
        Some(TargetName { text, key: "address", at: place.at() })
    }

    fn labels(&mut self, path: &Path<'_>, node: &Node<'_>) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::new();
        let mut seen = HashMap::new();
        let entries = self.walk.entries(path, node, || {
            values::mismatch("a mapping of labels, such as {site: fra}", node)
        });
        for (key, value) in entries.unwrap_or_default() {
            let word = key.word();
            let path = path.entry(&word, key.at);
            let name = values::label_name(key);
            match (name, values::visible_text(value)) {
                (Ok(name), Ok(value)) => {
                    labels.insert(name.into(), value.to_owned());
                }
                (name, value) => {
                    for message in [name.err(), value.err()].into_iter().flatten() {
                        self.walk.report(&path, || message);
                    }
                }
            }
            self.walk.check_new(&mut seen, word.clone(), &path, |word| {
                format!("duplicate label {word:?}")
            });
        }
        labels
    }

    /// Reports every duplicate name.
    fn check_names(&mut self, path: &Path<'_>, items: &[Node<'_>], candidates: &[Candidate]) {
        let names: Vec<_> = candidates.iter().map(|candidate| candidate.name.as_ref()).collect();
        let texts = names.iter().map(|name| name.map(|name| name.text.as_str()));
        for (again, first) in conflict::duplicate_names(texts) {
            let (Some(name), Some(of_first)) = (names[again], names[first]) else { continue };
            let first_at = of_first.at.max(items[first].at);
            // If an alias repeats a target, the name is written at the anchor, which is before the
            // place of the target.
            let target = path.item(again, items[again].at);
            let entry = target.entry(name.key, name.at.max(items[again].at));
            self.walk.duplicate(&entry, first_at, || {
                let source = if name.key == "address" { ", taken from the address" } else { "" };
                format!("duplicate target name {:?}{source}", name.text)
            });
        }
        let targets = candidates.iter().map(|candidate| candidate.target.as_ref());
        for (taken, template) in conflict::taken_names(targets) {
            let (Some(name), Some(of)) = (names[taken], names[template]) else { continue };
            let target = path.item(taken, items[taken].at);
            let entry = target.entry(name.key, name.at.max(items[taken].at));
            self.walk.report(&entry, || {
                let (name, of) = (&name.text, &of.text);
                format!(
                    "target name {name:?} is reserved: target {of:?} has `addresses: all`, so the \
                     targets of its addresses have names of this form"
                )
            });
        }
    }

    /// Reports every target whose replies cannot be distinguished from those of an earlier target.
    fn check_distinct(&mut self, path: &Path<'_>, items: &[Node<'_>], candidates: &[Candidate]) {
        let targets = candidates.iter().map(|candidate| candidate.target.as_ref());
        for (index, problem) in conflict::indistinct(targets) {
            self.walk.report(&path.item(index, items[index].at), || problem);
        }
    }
}

/// The protocol options in the entries of a target.
struct TargetKeys<'a, 'f, 'n> {
    checker: &'a mut Checker<'f>,
    /// The target.
    path: &'a Path<'a>,
    fields: &'a Fields<'n>,
}

impl OptionSource for TargetKeys<'_, '_, '_> {
    fn text(&mut self, key: &'static str) -> Option<String> {
        let text = |node: &Node<'_>| values::text(node).map(str::to_owned);
        self.checker.walk.value(self.path, self.fields, key, text)
    }

    fn whole(&mut self, key: &'static str, expected: &str) -> Option<u32> {
        let whole = |node: &Node<'_>| values::whole(node, expected);
        self.checker.walk.value(self.path, self.fields, key, whole)
    }

    fn key(&mut self, key: &'static str) -> Option<FiledKey> {
        let file = self.text(key)?;
        let read = match file.as_str() {
            "" => Err("must not be empty".to_owned()),
            file => self.checker.key(file),
        };
        match read {
            Ok(read) => {
                Some(FiledKey { file: absolute(&self.checker.folder.join(&file)), key: read })
            }
            Err(message) => {
                self.report(key, message);
                None
            }
        }
    }

    fn report(&mut self, key: &'static str, message: String) {
        if let Some((path, _)) = self.fields.entry(self.path, key) {
            self.checker.walk.report(&path, || message);
        }
    }
}
