//! `cargo bench --bench capacity`: how many targets the probe carries, how well, and at what cost.
//!
//! Probe and responder run as separate processes on loopback, at each size. The same run measures
//! the bare loop over the same system calls ([`floor`]) and the peers ([`peers`]). Figures of one
//! run can be compared with each other, but not with those of another machine.
//!
//! ```text
//! cargo bench --bench capacity
//! cargo bench --bench capacity -- --targets 10,1000 --seconds 5 --no-peers
//! ```
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "prints its tables and progress")]

mod budgets;
mod clock;
mod figures;
mod floor;
mod http;
mod peers;
mod process;
mod programs;
mod size;
mod table;
mod truth;

use std::thread;
use std::time::Duration;

use anyhow::ensure;
use clap::Parser as _;

use figures::Figures;
use peers::{Ping, Row};
use size::{Measured, Plan};
use table::{Table, count, kibibytes, mebibytes, micros, millis, percent, quantile, ratio};

/// Measures probe and responder on loopback, beside the bare system calls and other tools.
#[derive(Debug, clap::Parser)]
#[command(name = "capacity")]
struct Args {
    /// Numbers of targets, measured one after the other
    #[arg(long, value_delimiter = ',', default_values_t = [10, 1_000, 10_000, 100_000])]
    targets: Vec<usize>,
    /// Length of the window without scrapes, at each size
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Workers of the probe [default: the probe's own]
    #[arg(long)]
    workers: Option<usize>,
    /// Do not measure the peers
    #[arg(long)]
    no_peers: bool,
    /// Do not compare with a packet capture
    #[arg(long)]
    no_capture: bool,
    /// Passed by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if !args.bench {
        println!("nothing to test; run by `cargo bench --bench capacity`");
        return Ok(());
    }
    process::end_all_on_signals()?;
    introduce(&args)?;

    let sizes = sizes(&args);
    println!("{}", size_table(&sizes));
    complain(&sizes);

    if !args.no_peers {
        let window = Duration::from_secs(args.seconds.min(5));
        println!("{}", peer_table(&peers::measure(window)?, &sizes));
    }

    let truth = if args.no_capture { None } else { capture() };
    println!("{}", budgets::table(&sizes, truth.as_ref()));
    Ok(())
}

fn introduce(args: &Args) -> anyhow::Result<()> {
    ensure!(args.targets.iter().all(|&targets| targets > 0), "--targets must be at least 1");
    ensure!(
        args.workers.is_none() || programs::takes_workers(),
        "this heartbeat-probe has no option --workers"
    );
    let cores = thread::available_parallelism()?;
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    println!("{cores} cores, Linux {}, load before: {load}", kernel.trim());
    println!(
        "STAMP over loopback, 1 heartbeat a second and target, {} s windows, {} worker(s)\n",
        args.seconds,
        args.workers.map_or("default".to_owned(), |workers| workers.to_string())
    );
    Ok(())
}

/// Measures each size. Reports and leaves out sizes that fail.
fn sizes(args: &Args) -> Vec<Measured> {
    let window = Duration::from_secs(args.seconds);
    let mut sizes = args.targets.clone();
    sizes.sort_unstable();
    sizes.dedup();
    let measure = |targets| {
        eprintln!("measuring {} targets …", count(targets));
        size::measure(Plan { targets, window, workers: args.workers })
            .inspect_err(|error| println!("  {} targets: {error:#}\n", count(targets)))
            .ok()
    };
    sizes.into_iter().filter_map(measure).collect()
}

/// A column for each size.
fn size_table(sizes: &[Measured]) -> Table {
    let mut table = Table::default();
    let mut row = |name: &str, cell: &dyn Fn(&Measured) -> String| {
        table.row(std::iter::once(name.to_owned()).chain(sizes.iter().map(cell)));
    };
    row("targets", &|size| count(size.targets));
    row("heartbeats/s", &|size| count(format!("{:.0}", size.rate)));
    row("answered", &|size| percent(size.answered()));
    row("lost / late / unsent", &|size| {
        let Figures { lost, late, unsent, .. } = size.last;
        format!("{} / {} / {}", count(lost), count(late), count(unsent))
    });
    row("datagrams dropped by the kernel", &|size| count(size.last.drops));
    row("ledgers that add up", &|size| {
        format!("{} of {}", count(size.ledgers - size.unbalanced), count(size.ledgers))
    });
    row("RTT, mean", &|size| size.quiet.rtt.mean().map_or("–".to_owned(), micros));
    row("RTT, p99 (1)", &|size| quantile(size.quiet.rtt.quantile(0.99)));
    row("RTT from kernel stamps only", &|size| percent(size.kernel_stamps()));
    row("schedule lag, p99 (2)", &|size| quantile(size.lag().0));
    row("schedule lag, p99, while scraped", &|size| quantile(size.lag().1));
    row("CPU per heartbeat: probe", &|size| micros(size.probe_cpu));
    row("  responder", &|size| micros(size.responder_cpu));
    row("  bare loop (3)", &|size| micros(size.floor.bare));
    row("  bare loop with kernel stamps", &|size| micros(size.floor.stamped));
    row("  probe / bare loop", &|size| ratio(size.probe_cpu, size.floor.bare));
    row("  probe / bare loop with stamps", &|size| ratio(size.probe_cpu, size.floor.stamped));
    row("start until HTTP is served", &|size| millis(size.serving));
    row("start until all targets have been answered", &|size| millis(size.ready));
    row("memory at rest", &|size| mebibytes(size.at_rest as f64));
    row("  per target (4)", &|size| {
        let octets = sizes.first().and_then(|base| size.octets_per_target(base));
        octets.map_or("–".to_owned(), kibibytes)
    });
    row("memory after scrapes", &|size| mebibytes(size.after_scrapes as f64));
    row("scrapes refused", &|size| count(size.refusals));
    row("scrape, plain", &|size| millis(size.plain.took));
    row("  gzip", &|size| millis(size.gzip.took));
    row("  octets, plain", &|size| mebibytes(size.plain.octets as f64));
    row("  octets, gzip", &|size| mebibytes(size.gzip.octets as f64));
    table.note(format!(
        "(1) to the precision of a bucket: each bound is {} × the one before, from 10 µs",
        programs::BUCKET_RATIO
    ));
    table.note("(2) from the start to the first scrape, like RTT");
    table.note("(3) per round trip, of the sending end only, measured just before this size");
    table.note("(4) in addition to that of the smallest size");
    table
}

/// Prints the warnings of the probe.
fn complain(sizes: &[Measured]) {
    for size in sizes {
        for (message, times) in &size.complaints {
            let targets = count(size.targets);
            println!("  at {targets} targets, the probe warned {}: {message}", times_over(*times));
        }
    }
    if sizes.iter().any(|size| !size.complaints.is_empty()) {
        println!();
    }
}

fn times_over(times: usize) -> String {
    if times == 1 { "once".to_owned() } else { format!("{} times", count(times)) }
}

/// The peers and the probe.
fn peer_table(rows: &[Row], sizes: &[Measured]) -> Table {
    let floors: Vec<Duration> = sizes.iter().map(|size| size.floor.bare).collect();
    let floor = floors.iter().min().copied();
    let mut table = Table::default();
    table.row(["program", "targets", "CPU per ping", "/ bare loop", "answered", "mean RTT"]);
    let mut ping = |program: String, targets: usize, ping: &Ping| {
        let to_floor = floor.map_or("–".to_owned(), |floor| ratio(ping.cpu, floor));
        table.row([
            program,
            count(targets),
            micros(ping.cpu),
            to_floor,
            percent(ping.answered),
            micros(ping.rtt),
        ]);
    };
    for size in sizes {
        let rtt = size.quiet.rtt.mean().unwrap_or_default();
        let own = Ping { cpu: size.probe_cpu, answered: size.answered(), rtt };
        ping("heartbeat-probe (STAMP, an exporter)".to_owned(), size.targets, &own);
    }
    for Row { program, about, run } in rows {
        let name = format!("{program} ({about})");
        if let Some((targets, Ok(result))) = run {
            ping(name, *targets, result);
        }
    }
    for Row { program, run, .. } in rows {
        match run {
            None => table.note(format!("{program}: not installed")),
            Some((targets, Err(error))) => {
                table.note(format!("{program}, {} targets: {error:#}", count(targets)));
            }
            Some((_, Ok(_))) => {}
        }
    }
    table
}

/// Compares with a packet capture, if one is possible.
fn capture() -> Option<truth::Truth> {
    eprintln!("capturing packets …");
    truth::measure()
        .inspect_err(|error| println!("  cannot compare with a packet capture: {error:#}\n"))
        .ok()
}
