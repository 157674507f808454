//! Logging of both programs to standard error, with the options `--log.level` and `--log.format`.
//!
//! A separate thread writes. If the reader of the log stops, lines are dropped once 4,096 wait, so
//! that no heartbeat, scrape or signal waits for the log.

use std::io::{IsTerminal as _, Write};

use clap::ValueEnum;
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, fmt};

/// The flags of logging.
#[derive(Debug, Clone, Copy, clap::Args)]
#[command(next_help_heading = "Logging")]
pub struct LogArgs {
    /// Minimum level of log messages: trace, debug, info, warn or error
    #[arg(
        global = true,
        long = "log.level",
        value_name = "LEVEL",
        default_value = "info",
        ignore_case = true,
        hide_possible_values = true
    )]
    pub level: Level,

    /// Format of log messages on standard error: text, or json with one object per line
    #[arg(
        global = true,
        long = "log.format",
        value_name = "FORMAT",
        default_value = "text",
        ignore_case = true,
        hide_possible_values = true
    )]
    pub format: Format,
}

/// Maximum number of lines that wait to be written.
const BUFFERED_LINES: usize = 4096;

/// A writer that never blocks: a thread writes to `out`. Dropping the guard writes the waiting
/// lines.
pub(super) fn non_blocking(out: impl Write + Send + 'static) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default().buffered_lines_limit(BUFFERED_LINES).lossy(true).finish(out)
}

/// How severe a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Level {
    /// Single datagrams.
    Trace,
    /// Details for developers.
    Debug,
    /// Changes of state.
    Info,
    /// Problems that need attention.
    Warn,
    /// Problems that stop the program from working.
    Error,
}

/// The format of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A line for people.
    Text,
    /// One JSON object per line.
    Json,
}

impl LogArgs {
    /// Installs the subscriber of the process, unless there is one already.
    ///
    /// Dropping the guard writes the waiting lines, or drops them after a second.
    pub fn init(self) -> WorkerGuard {
        let (stderr, guard) = non_blocking(std::io::stderr());
        let colours = std::io::stderr().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let format: Box<dyn Layer<Registry> + Send + Sync> = match self.format {
            Format::Text => {
                fmt::layer().with_writer(stderr).with_ansi(colours).with_target(false).boxed()
            }
            Format::Json => fmt::layer().json().with_target(false).with_writer(stderr).boxed(),
        };
        // An error means that a test or a user of the library has installed its own subscriber.
        let _ = tracing_subscriber::registry().with(format.with_filter(self.filter())).try_init();
        guard
    }

    /// Filters messages by level. DEBUG and TRACE messages of libraries are never logged.
    fn filter(self) -> Targets {
        let level = match self.level {
            Level::Trace => LevelFilter::TRACE,
            Level::Debug => LevelFilter::DEBUG,
            Level::Info => LevelFilter::INFO,
            Level::Warn => LevelFilter::WARN,
            Level::Error => LevelFilter::ERROR,
        };
        Targets::new()
            .with_default(level.min(LevelFilter::INFO))
            .with_target(env!("CARGO_CRATE_NAME"), level)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        log: LogArgs,
    }

    fn parse(arguments: &[&str]) -> Result<LogArgs, clap::Error> {
        let arguments = [&["program"], arguments].concat();
        Program::try_parse_from(arguments).map(|program| program.log)
    }

    #[test]
    fn by_default_text_from_info_up_is_logged() {
        let log = parse(&[]).unwrap();
        assert_eq!((log.level, log.format), (Level::Info, Format::Text));
        let log = parse(&["--log.level=WARN", "--log.format", "json"]).unwrap();
        assert_eq!((log.level, log.format), (Level::Warn, Format::Json));
        assert!(parse(&["--log.level=loud"]).is_err());
    }

    #[test]
    fn libraries_are_never_louder_than_info() {
        let filter = |level| LogArgs { level, format: Format::Text }.filter();
        let (ours, theirs) = ("udp_heartbeat::responder", "hyper::proto");
        assert!(filter(Level::Trace).would_enable(ours, &tracing::Level::TRACE));
        assert!(!filter(Level::Trace).would_enable(theirs, &tracing::Level::DEBUG));
        assert!(filter(Level::Trace).would_enable(theirs, &tracing::Level::INFO));
        assert!(!filter(Level::Error).would_enable(theirs, &tracing::Level::WARN));
        assert!(!filter(Level::Error).would_enable(ours, &tracing::Level::WARN));
    }
}
