//! `heartbeat-responder`: a responder and its HTTP server, until a signal stops them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use anyhow::Context as _;
use tracing::{info, warn};

use super::impairment_args::ImpairmentArgs;
use super::impairments;
use super::listening;
use super::logging::LogArgs;
use super::service;
use super::signal::{self, Signals};
use super::stated::{Control, Stated};
use super::web::{DEFAULT_MAX_REQUESTS, ListenAddress, max_requests};
use super::web_args::WebArgs;
use super::{USAGE, failed};
use crate::config::{KeyFile, KeyFileError, Prefix};
use crate::exposition::ResponderMetrics;
use crate::impair::LinkSettings;
use crate::net;
use crate::observe::ResponderStatus;
use crate::responder::{self, ReplyDscp, Responder, Terms};
use crate::web::{self, Access, ImpairmentControl};

/// Answers UDP heartbeats (protocols heartbeat, ping and stamp) on one port, and can imitate a bad
/// network.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "heartbeat-responder", version, args_conflicts_with_subcommands = true)]
#[expect(clippy::struct_excessive_bools, reason = "independent options of a command line")]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    /// The addresses to answer heartbeats on.
    #[arg(
        long,
        value_name = "ADDR:PORT",
        value_parser = listen_address,
        help = "Address to answer heartbeats on; repeatable; port 0 picks a free port \
                [default: 0.0.0.0:12000 and [::]:12000]"
    )]
    listen: Vec<SocketAddr>,

    /// Requests answered per second and source (IPv4 address or IPv6 /64); the burst has the same
    /// size; 0 disables the limit
    #[arg(long, value_name = "N", default_value_t = 1000,
        allow_negative_numbers = true, value_parser = super::whole(0..=1_000_000_u32))]
    rate_limit: u32,

    /// Answer only this network, such as 192.0.2.0/24; repeatable
    #[arg(long, value_name = "CIDR")]
    allow: Vec<Prefix>,

    /// Address to serve HTTP on; without HOST, all addresses; port 0 picks a free port
    #[arg(long = "web.listen-address", value_name = "[HOST]:PORT", default_value = ":9863")]
    web_listen_address: ListenAddress,

    #[command(flatten)]
    web: WebArgs,

    /// Maximum number of pages and scrapes answered at a time; others wait
    #[arg(long = "web.max-requests", value_name = "N", default_value_t = DEFAULT_MAX_REQUESTS,
        allow_negative_numbers = true, value_parser = max_requests)]
    max_requests: usize,

    /// Repeat the sequence number of each STAMP request in its reply instead of counting the
    /// replies of each session; senders then cannot know in which direction a heartbeat was lost
    #[arg(long = "stamp.stateless")]
    stateless: bool,

    /// Also answer STAMP and TWAMP Light requests of 14 to 43 octets; the replies have 44 octets,
    /// which amplifies forged requests up to 3.1 times
    #[arg(long = "stamp.short-requests")]
    short_requests: bool,

    /// DSCP of STAMP replies: reflect (that of the request), or a number or name, such as 46 or EF
    #[arg(long = "stamp.dscp", value_name = "reflect|DSCP", default_value = "reflect")]
    dscp: ReplyDscp,

    /// Answer only STAMP requests, and only if they are authenticated with the key in this file;
    /// repeatable
    #[arg(long = "stamp.key-file", value_name = "FILE", value_parser = key_file)]
    key_files: Vec<KeyFile>,

    /// Also answer unauthenticated requests, of any protocol; for use until all probes have a key
    #[arg(long = "stamp.allow-unauthenticated", requires = "key_files")]
    allow_unauthenticated: bool,

    /// Verify the HMAC TLVs of unauthenticated STAMP requests with the keys of --stamp.key-file, and
    /// write HMAC TLVs to the replies (RFC 8972 section 4.8)
    #[arg(long = "stamp.check-tlvs", requires = "allow_unauthenticated")]
    check_tlvs: bool,

    /// Let HTTP clients change the impairments (/api/v1/impairments); the responder then uses one
    /// thread
    #[arg(long = "web.enable-lifecycle")]
    lifecycle: bool,

    #[command(flatten)]
    log: LogArgs,

    #[command(flatten)]
    impairments: ImpairmentArgs,
}

impl Args {
    /// Whether only requests that are authenticated by a key are answered.
    fn require_auth(&self) -> bool {
        !self.key_files.is_empty() && !self.allow_unauthenticated
    }
}

#[derive(Debug, Clone, clap::Subcommand)]
enum Command {
    /// Show or change the impairments of a running responder
    Impairments(impairments::Args),
}

/// Runs the program until SIGTERM or SIGINT, or its subcommand to the end.
///
/// # Errors
/// Those of the subcommand, or if an address cannot be bound or a thread or socket is not
/// available. An invalid file of `--web.config.file` is not an error here: it is reported, and the
/// exit code is 2.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if let Some(Command::Impairments(args)) = &args.command {
        return impairments::run(args).map(|()| ExitCode::SUCCESS);
    }
    let access = match args.web.access() {
        Ok(access) => access,
        Err(problems) => return Ok(failed(&problems.into(), USAGE)),
    };
    let _log = args.log.init();
    // Each thread needs some descriptors, and there is a thread for each core.
    if let Err(error) = net::raise_descriptor_limit() {
        warn!(%error, "cannot raise the limit on open files");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(serve(args, access))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(args: &Args, access: Access) -> anyhow::Result<()> {
    // First, so that a signal during the start also ends in an orderly shutdown.
    let mut signals = Signals::listen()?;
    signal::log_hangups(signal::hangups()?);
    // Nine digits vary enough, and are short enough to copy from a log.
    let seed = net::now().wall.as_nanos() % 1_000_000_000;
    let settings = args.impairments.settings(seed);
    let rate_limit = NonZeroU32::new(args.rate_limit);
    let terms = Terms {
        allow: args.allow.clone(),
        rate_limit,
        keys: args.key_files.iter().cloned().map(KeyFile::into_key).collect(),
        require_auth: args.require_auth(),
        check_tlvs: args.check_tlvs,
        short_requests: args.short_requests,
        dscp: args.dscp,
        impairments: settings,
        changeable: args.lifecycle,
    };
    let metrics = ResponderMetrics::new();
    let threads = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let bound = Responder::bind(&args.listen, &terms, threads, &metrics);
    let mut responder = bound.map_err(|error| {
        let (kind, port) = (listening::kind(&error), error.address().port());
        listening::explained(error, kind, port, "--listen")
    })?;
    if args.stateless {
        responder = responder.stateless();
    }
    let listener = args.web_listen_address.bind().await?;
    let http = listener.local_addr().context("cannot get the address of the HTTP listener")?;

    let status =
        ResponderStatus { listeners: responder.local_addrs(), impairments: settings.in_words() };
    let impairments = args.lifecycle.then(|| {
        let stated = Stated { all: args.impairments.clone(), ..Stated::default() };
        let control = Control::new(stated, settings.seed, responder.impairments());
        Arc::new(control) as Arc<dyn ImpairmentControl>
    });
    let router = web::responder_router(metrics, status.clone(), impairments, args.max_requests);
    let responder = responder::spawn(responder).context("cannot start the responder's threads")?;
    announce(&status, http, &settings);
    service::ready();
    if args.short_requests {
        warn!(
            "answering STAMP requests of 14 to 43 octets with 44 octets: forged requests are \
             amplified, up to 3.1 times"
        );
    }
    let shutdown = async {
        let name = signals.next().await;
        info!(signal = %name, "stopping");
        service::stopping();
        // HTTP ends after the responder, so that a last scrape has the final figures.
        responder.stop();
    };
    web::serve(listener, access, router, shutdown).await;
    info!("stopped");
    Ok(())
}

/// Logs one line for each listener, and a warning if there are impairments.
fn announce(status: &ResponderStatus, http: SocketAddr, settings: &LinkSettings) {
    for address in &status.listeners {
        info!(%address, "answering heartbeats over UDP");
    }
    info!(address = %http, "serving HTTP");
    if !settings.is_off() {
        let seed = settings.seed;
        warn!(seed, "impairments: {settings}");
    }
}

fn key_file(path: &str) -> Result<KeyFile, KeyFileError> {
    KeyFile::read(Path::new(path))
}

/// `[ADDRESS%INTERFACE]:PORT` with the number of the interface instead of its name; `None` if `text`
/// has another form or there is no such interface.
fn numbered_zone(text: &str) -> Option<String> {
    let (address, rest) = text.split_once('%')?;
    let (name, port) = rest.split_once(']')?;
    Some(format!("{address}%{}]{port}", net::interface_number(name)?))
}

fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let numbered = numbered_zone(text);
    let address: SocketAddr = numbered.as_deref().unwrap_or(text).parse().map_err(|_| {
        let digits = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
        let hint = match text {
            _ if text.contains("://") => "; a URL is not an address",
            _ if text.contains('%') => {
                "; a zone must be the name or the number of an interface, as in [fe80::1%eth0]:12000"
            }
            _ if text.starts_with(':') || digits => "; for all addresses, write 0.0.0.0 or [::]",
            _ if text.contains(|c: char| c.is_ascii_alphabetic()) && !text.contains('[') => {
                "; a name is not an address"
            }
            _ => "",
        };
        format!("must be ADDR:PORT, such as 192.0.2.1:12000 or [::1]:12000{hint}")
    })?;
    let ip = address.ip().to_canonical();
    if ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
        return Err("is a multicast or broadcast address: must be unicast".to_owned());
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn parse(arguments: &[&str]) -> Result<Args, String> {
        Args::try_parse_from([&["heartbeat-responder"], arguments].concat())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_those_that_are_documented() {
        let args = parse(&[]).unwrap();
        assert!(args.listen.is_empty());
        assert_eq!(args.web_listen_address.to_string(), ":9863");
        assert!(args.impairments.settings(0).is_off());
        assert_eq!((args.rate_limit, args.allow), (1000, vec![]));
    }

    #[test]
    fn listen_may_be_repeated() {
        let args = parse(&["--listen", "127.0.0.1:0", "--listen=[::1]:7"]).unwrap();
        assert_eq!(args.listen, ["127.0.0.1:0".parse().unwrap(), "[::1]:7".parse().unwrap()]);
    }

    #[test]
    fn allow_may_be_repeated() {
        let args = parse(&["--allow=192.0.2.0/24", "--allow", "::1"]).unwrap();
        assert_eq!(args.allow, ["192.0.2.0/24".parse().unwrap(), "::1/128".parse().unwrap()]);
    }

    #[test]
    fn keys_require_authentication_unless_open_requests_are_allowed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key").display().to_string();
        std::fs::write(&file, "0".repeat(32)).unwrap();
        let keyed = ["--stamp.key-file", &file];
        for (flags, required) in [
            (&[][..], false),
            (&keyed, true),
            (&[keyed[0], keyed[1], "--stamp.allow-unauthenticated"], false),
        ] {
            assert_eq!(parse(flags).unwrap().require_auth(), required, "{flags:?}");
        }
        let error = parse(&["--stamp.allow-unauthenticated"]).unwrap_err();
        assert!(error.contains("--stamp.key-file <FILE>"), "{error}");
    }

    #[test]
    fn a_zone_may_be_the_name_of_an_interface() {
        let lo = net::interface_number("lo").unwrap();
        let expected: SocketAddr = format!("[fe80::1%{lo}]:12000").parse().unwrap();
        assert_eq!(listen_address("[fe80::1%lo]:12000"), Ok(expected));
    }

    #[test]
    fn invalid_arguments_are_explained() {
        for (argument, message) in [
            ("--listen=12000", "must be ADDR:PORT"),
            ("--listen=12000", "; for all addresses, write 0.0.0.0 or [::]"),
            ("--listen=:12000", "; for all addresses, write 0.0.0.0 or [::]"),
            ("--listen=localhost:12000", "; a name is not an address"),
            ("--listen=udp://0.0.0.0:12000", "; a URL is not an address"),
            (
                "--listen=[fe80::1%nosuch0]:1",
                "a zone must be the name or the number of an interface",
            ),
            ("--listen=224.0.0.1:12000", "is a multicast or broadcast address"),
            ("--listen=[ff02::1%1]:12000", "is a multicast or broadcast address"),
            ("--listen=255.255.255.255:12000", "is a multicast or broadcast address"),
            ("--web.listen-address=9863", "did you mean :9863?"),
            ("--allow=fra.example", "must be a network, such as 192.0.2.0/24"),
            ("--allow=10.0.0.1/8", "has host bits set: did you mean 10.0.0.0/8, or the one"),
            ("--rate-limit=-1", "must be a whole number from 0 to 1000000"),
            ("--reorder-extent=3", "--reorder <RATIO[,HOLD]>"),
            ("--stamp.dscp=64", "must be reflect, or a DSCP by number, from 0 to 63, or by name"),
            ("--rate-limit=1000001", "must be a whole number from 0 to 1000000"),
        ] {
            let error = parse(&[argument]).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }
}
