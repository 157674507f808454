//! The system's configuration of name lookups: resolv.conf(5) and hosts(5), read again when they
//! change.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::config::{
    ResolveHosts, ResolverConfig, ResolverOpts, ServerOrderingStrategy,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;
use hickory_resolver::{Hosts, Resolver, TokioResolver};

use crate::model::Mono;
use crate::net::clock::now;

/// The shortest time between two examinations of the files.
const EXAMINED: Duration = Duration::from_secs(1);

/// The name server that is asked if resolv.conf names none, as resolv.conf(5) says.
const OWN_SERVER: &[u8] = b"\nnameserver 127.0.0.1\n";

/// All servers are asked within this time.
const PATIENCE: Duration = Duration::from_secs(9);

/// The configuration in force.
#[derive(Debug)]
pub(super) struct System {
    resolv_conf: PathBuf,
    hosts: PathBuf,
    /// The port of the name servers.
    port: u16,
    current: Mutex<Option<Current>>,
}

#[derive(Debug)]
struct Current {
    examined: Mono,
    marks: [Option<Mark>; 2],
    settings: Arc<Settings>,
}

/// Identifies the contents of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark([u64; 3], [i64; 4]);

/// One state of the configuration.
#[derive(Debug)]
pub(super) struct Settings {
    /// `None` if the configuration cannot be used.
    pub(super) resolver: Option<TokioResolver>,
    hosts: Hosts,
    pub(super) ndots: usize,
    /// The domains that complete a name.
    pub(super) search: Vec<Name>,
}

impl Default for System {
    fn default() -> Self {
        Self::new("/etc/resolv.conf".into(), "/etc/hosts".into(), 53)
    }
}

impl System {
    /// The configuration in these files. The name servers listen on `port`.
    pub(super) fn new(resolv_conf: PathBuf, hosts: PathBuf, port: u16) -> Self {
        Self { resolv_conf, hosts, port, current: Mutex::new(None) }
    }

    /// The present configuration. A change of the files is noticed within a second.
    pub(super) fn settings(&self) -> Arc<Settings> {
        let now = now().mono;
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(current) = &mut *current {
            if now.since(current.examined) < EXAMINED {
                return current.settings.clone();
            }
            current.examined = now;
        }
        // Before the files are read, so that a change meanwhile is noticed next time.
        let marks = [&self.resolv_conf, &self.hosts].map(|file| Mark::of(file));
        if let Some(current) = &*current
            && current.marks == marks
        {
            return current.settings.clone();
        }
        let settings = Arc::new(self.read());
        *current = Some(Current { examined: now, marks, settings: settings.clone() });
        settings
    }

    fn read(&self) -> Settings {
        let mut text = fs::read(&self.resolv_conf).unwrap_or_default();
        let parsed = parse_resolv_conf(&text).or_else(|error| {
            let file = self.resolv_conf.display();
            tracing::info!(%file, %error, "cannot read name servers from resolv.conf, using 127.0.0.1");
            text.extend_from_slice(OWN_SERVER);
            parse_resolv_conf(&text)
        });
        let parsed = parsed.or_else(|_| parse_resolv_conf(OWN_SERVER)).unwrap_or_default();
        let mut hosts = Hosts::default();
        if let Ok(file) = fs::File::open(&self.hosts)
            && let Err(error) = hosts.read_hosts_conf(file)
        {
            tracing::warn!(file = %self.hosts.display(), %error, "cannot read the hosts file");
        }
        let (config, options) = parsed;
        let ndots = options.ndots;
        let (domain, mut search, servers) = config.into_parts();
        if search.is_empty() {
            search.extend(domain);
        }
        let mut config = ResolverConfig::from_name_servers(servers);
        for connection in config.name_servers.iter_mut().flat_map(|one| &mut one.connections) {
            connection.port = self.port;
        }
        let resolver = resolver(config, options)
            .inspect_err(|error| tracing::error!(%error, "cannot use the configured name servers"));
        let resolver = resolver.ok();
        Settings { resolver, hosts, ndots, search }
    }
}

/// A resolver that asks the servers in the configured order and caches nothing.
fn resolver(config: ResolverConfig, mut options: ResolverOpts) -> Result<TokioResolver, NetError> {
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    // The first server may know names that the others do not.
    options.num_concurrent_reqs = 1;
    options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
    let servers = u32::try_from(config.name_servers.len()).unwrap_or(u32::MAX);
    options.timeout = options.timeout.min(PATIENCE / servers.saturating_add(1));
    let mut builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
    *builder.options_mut() = options;
    builder.build()
}

impl Settings {
    /// The IPv4 and IPv6 addresses of a name in the hosts file; `None` if it is not there.
    pub(super) fn hosts(&self, name: &Name) -> Option<[Vec<SocketAddr>; 2]> {
        let of = |of: RecordType| -> Vec<SocketAddr> {
            let found = self.hosts.lookup_static_host(&Query::query(name.clone(), of));
            let records = found.iter().flat_map(Lookup::answers);
            let addresses = records.filter_map(|record| record.data.ip_addr());
            addresses.map(|ip| SocketAddr::new(ip, 0)).collect()
        };
        let found = [of(RecordType::A), of(RecordType::AAAA)];
        found.iter().any(|addresses| !addresses.is_empty()).then_some(found)
    }
}

impl Mark {
    /// `None` for a file that does not exist.
    fn of(file: &Path) -> Option<Self> {
        let of = fs::metadata(file).ok()?;
        let times = [of.mtime(), of.mtime_nsec(), of.ctime(), of.ctime_nsec()];
        Some(Self([of.dev(), of.ino(), of.size()], times))
    }
}
