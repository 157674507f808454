//! The responder's impairment flags: `--loss`, `--delay`, …

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use clap::ArgGroup;

use crate::config::{BitRate, Ratio, ScalarError, Span};
use crate::impair::{Bandwidth, Burst, LinkSettings, LossyWay, Outage, Shape};

/// The responder's impairments, as flags.
#[derive(Debug, Clone, PartialEq, Default, clap::Args)]
#[command(next_help_heading = "Impairments (off by default; a ratio is 30% or 0.3)")]
#[command(group = ArgGroup::new("losses").args(["loss", "burst_loss", "outage"]).multiple(true))]
pub(super) struct ImpairmentArgs {
    /// Ratio of packets that are lost, each independently
    #[arg(long, value_name = "RATIO", allow_hyphen_values = true)]
    loss: Option<Ratio>,

    /// Loss in bursts (Gilbert-Elliott): before each packet, a good link turns bad with probability
    /// P, and a bad link turns good with probability R; a bad link loses everything
    #[arg(long, value_name = "P,R", allow_hyphen_values = true)]
    burst_loss: Option<BurstArg>,

    /// Direction in which --loss, --burst-loss and --outage drop packets: in (requests), out
    /// (replies) or both (independently; outages drop requests only) [default: in]
    #[arg(long, value_name = "in|out|both", requires = "losses", allow_hyphen_values = true)]
    direction: Option<DirectionArg>,

    /// Delay of every reply
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    delay: Option<Span>,

    /// Additional random delay of every reply, half of DURATION on average
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    jitter: Option<Span>,

    /// Distribution of the jitter: uniform, normal (most replies close to the average) or pareto (a
    /// few replies far above --jitter) [default: uniform]
    #[arg(long, value_name = "SHAPE", requires = "jitter", allow_hyphen_values = true)]
    jitter_shape: Option<ShapeArg>,

    /// Limit of the replies' bit rate, such as 64kbit per second, including IP and UDP headers; a
    /// reply that would wait longer than QUEUE is dropped [default QUEUE: 100ms]
    #[arg(long, value_name = "RATE[,QUEUE]", allow_hyphen_values = true)]
    bandwidth: Option<BandwidthArg>,

    /// Ratio of replies that are sent twice
    #[arg(long, value_name = "RATIO", allow_hyphen_values = true)]
    duplicate: Option<Ratio>,

    /// Ratio of replies that are delayed by HOLD, so that later replies overtake them
    /// [default HOLD: 1.1s]
    #[arg(long, value_name = "RATIO[,HOLD]", allow_hyphen_values = true)]
    reorder: Option<ReorderArg>,

    /// Send a reordered reply once N later replies to the same client have overtaken it, or after
    /// the HOLD of --reorder at the latest
    #[arg(long, value_name = "N", requires = "reorder", allow_hyphen_values = true)]
    reorder_extent: Option<ExtentArg>,

    /// Ratio of replies in which one bit is flipped
    #[arg(long, value_name = "RATIO", allow_hyphen_values = true)]
    corrupt: Option<Ratio>,

    /// Periodic outage: no replies during the last part of each period, such as
    /// every=60s,for=20s
    #[arg(long, value_name = "every=PERIOD,for=DURATION", allow_hyphen_values = true)]
    outage: Option<OutageArg>,

    /// Seed of all random decisions: the same seed and the same requests give the same
    /// impairments [default: random, and logged]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(super) seed: Option<SeedArg>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct BurstArg {
    p: Ratio,
    r: Ratio,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct DirectionArg(LossyWay);

#[derive(Debug, Clone, Copy, PartialEq)]
struct ShapeArg(Shape);

#[derive(Debug, Clone, Copy, PartialEq)]
struct BandwidthArg {
    rate: BitRate,
    queue: Option<Span>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct ReorderArg {
    share: Ratio,
    hold: Option<Span>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct OutageArg {
    every: Span,
    lasting: Span,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct ExtentArg(NonZeroU32);

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct SeedArg(pub(super) u64);

/// Why the value of a flag is invalid.
#[derive(Debug, thiserror::Error)]
pub(super) enum FlagError {
    #[error("must be two ratios, such as 1%,25%")]
    Burst,
    #[error("must be in, out or both")]
    Direction,
    #[error("must be uniform, normal or pareto")]
    Shape,
    #[error("must be a whole number from 1 to {}", u32::MAX)]
    Extent,
    #[error("must be a whole number from 0 to {}", u64::MAX)]
    Seed,
    #[error("must be every=PERIOD,for=DURATION, such as every=60s,for=20s")]
    Outage,
    #[error("the outage must be shorter than its period")]
    OutageTooLong,
    #[error("{0} {1}")]
    Part(&'static str, ScalarError),
}

impl ImpairmentArgs {
    /// The settings of these flags. `seed` is used if they have none.
    #[must_use]
    pub(super) fn settings(&self, seed: u64) -> LinkSettings {
        let ratio = |ratio: Option<Ratio>| ratio.unwrap_or_default().get();
        let span = |span: Option<Span>| span.map(Span::duration).unwrap_or_default();
        LinkSettings {
            loss: ratio(self.loss),
            burst_loss: self.burst_loss.map(|BurstArg { p, r }| Burst { p: p.get(), r: r.get() }),
            direction: self.direction.map(|DirectionArg(way)| way).unwrap_or_default(),
            delay: span(self.delay),
            jitter: span(self.jitter),
            jitter_shape: self.jitter_shape.map(|ShapeArg(shape)| shape).unwrap_or_default(),
            bandwidth: self.bandwidth.map(|BandwidthArg { rate, queue }| Bandwidth {
                rate: rate.get(),
                queue: queue.map_or(LinkSettings::QUEUE, Span::duration),
            }),
            duplicate: ratio(self.duplicate),
            reorder: ratio(self.reorder.map(|reorder| reorder.share)),
            reorder_hold: self
                .reorder
                .and_then(|reorder| reorder.hold)
                .map_or(LinkSettings::REORDER_HOLD, Span::duration),
            reorder_extent: self.reorder_extent.map_or(0, |ExtentArg(extent)| extent.get()),
            corrupt: ratio(self.corrupt),
            outage: self.outage.map(|OutageArg { every, lasting }| Outage {
                every: every.duration(),
                lasting: lasting.duration(),
            }),
            seed: self.seed.map_or(seed, |SeedArg(seed)| seed),
        }
    }
}

impl ImpairmentArgs {
    /// A setting that has no effect without others, and these others. The command line refuses it
    /// before (`requires`).
    pub(super) fn without_effect(&self) -> Option<(&'static str, &'static str)> {
        let losses = self.loss.is_some() || self.burst_loss.is_some() || self.outage.is_some();
        [
            ("direction", self.direction.is_some() && !losses, "loss, burst_loss or outage"),
            ("jitter_shape", self.jitter_shape.is_some() && self.jitter.is_none(), "jitter"),
            ("reorder_extent", self.reorder_extent.is_some() && self.reorder.is_none(), "reorder"),
        ]
        .into_iter()
        .find_map(|(key, alone, needed)| alone.then_some((key, needed)))
    }
}

/// Reads and writes the flags by name, with underscores instead of hyphens.
macro_rules! keyed {
    ($($flag:ident),+) => {
        impl ImpairmentArgs {
            const KEYS: &[&str] = &[$(stringify!($flag)),+];

            /// Sets the flag of this name to the value in `text`.
            pub(super) fn set(&mut self, key: &str, text: &str) -> Result<(), String> {
                match key {
                    $(stringify!($flag) => put(&mut self.$flag, text),)+
                    _ => Err(format!("unknown key (known: {})", Self::KEYS.join(", "))),
                }
            }

            /// The flags that were given, with their values as text.
            pub(super) fn stated(&self) -> Vec<(&'static str, String)> {
                let mut stated = Vec::new();
                $(
                    if let Some(value) = &self.$flag {
                        stated.push((stringify!($flag), value.to_string()));
                    }
                )+
                stated
            }
        }
    };
}

keyed! {
    loss, burst_loss, direction, delay, jitter, jitter_shape, bandwidth, duplicate, reorder,
    reorder_extent, corrupt, outage, seed
}

fn put<T: FromStr<Err: fmt::Display>>(slot: &mut Option<T>, text: &str) -> Result<(), String> {
    *slot = Some(text.parse().map_err(|error: T::Err| error.to_string())?);
    Ok(())
}

impl fmt::Display for BurstArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.p, self.r)
    }
}

impl fmt::Display for DirectionArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

impl fmt::Display for ShapeArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

impl fmt::Display for BandwidthArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.rate)?;
        self.queue.map_or(Ok(()), |queue| write!(f, ",{queue}"))
    }
}

impl fmt::Display for ReorderArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.share)?;
        self.hold.map_or(Ok(()), |hold| write!(f, ",{hold}"))
    }
}

impl fmt::Display for ExtentArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for SeedArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for OutageArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "every={},for={}", self.every, self.lasting)
    }
}

impl FromStr for BurstArg {
    type Err = FlagError;

    fn from_str(text: &str) -> Result<Self, FlagError> {
        let (p, r) = text.split_once(',').ok_or(FlagError::Burst)?;
        Ok(Self { p: part("P", p)?, r: part("R", r)? })
    }
}

impl FromStr for DirectionArg {
    type Err = FlagError;

    fn from_str(text: &str) -> Result<Self, FlagError> {
        let known = LossyWay::ALL.into_iter().find(|direction| direction.name() == text);
        known.map(Self).ok_or(FlagError::Direction)
    }
}

impl FromStr for ShapeArg {
    type Err = FlagError;

    fn from_str(text: &str) -> Result<Self, FlagError> {
        let known = Shape::ALL.into_iter().find(|shape| shape.name() == text);
        known.map(Self).ok_or(FlagError::Shape)
    }
}

impl FromStr for BandwidthArg {
    type Err = FlagError;

    fn from_str(text: &str) -> Result<Self, FlagError> {
        let (rate, queue) = match text.split_once(',') {
            Some((rate, queue)) => (rate, Some(part("the queue", queue)?)),
            None => (text, None),
        };
        Ok(Self { rate: part("the rate", rate)?, queue })
    }
}

impl FromStr for ReorderArg {
    type Err = FlagError;

    fn from_str(text: &str) -> Result<Self, FlagError> {
        let (share, hold) = match text.split_once(',') {
            Some((share, hold)) => (share, Some(part("the hold", hold)?)),
            None => (text, None),
        };
        Ok(Self { share: part("the ratio", share)?, hold })
    }
}

impl FromStr for ExtentArg {
    type Err = FlagError;

    fn from_str(text: &str) -> Result<Self, FlagError> {
        text.parse().map(Self).map_err(|_| FlagError::Extent)
    }
}

impl FromStr for SeedArg {
    type Err = FlagError;

    fn from_str(text: &str) -> Result<Self, FlagError> {
        text.parse().map(Self).map_err(|_| FlagError::Seed)
    }
}

impl FromStr for OutageArg {
    type Err = FlagError;

    fn from_str(text: &str) -> Result<Self, FlagError> {
        let (mut every, mut lasting) = (None, None);
        for setting in text.split(',') {
            match setting.split_once('=') {
                Some(("every", span)) if every.is_none() => every = Some(part("every", span)?),
                Some(("for", span)) if lasting.is_none() => lasting = Some(part("for", span)?),
                _ => return Err(FlagError::Outage),
            }
        }
        let (every, lasting): (Span, Span) = every.zip(lasting).ok_or(FlagError::Outage)?;
        if lasting >= every {
            return Err(FlagError::OutageTooLong);
        }
        Ok(Self { every, lasting })
    }
}

fn part<T: FromStr<Err = ScalarError>>(name: &'static str, text: &str) -> Result<T, FlagError> {
    text.parse().map_err(|error| FlagError::Part(name, error))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;
    use std::time::Duration;

    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        impairments: ImpairmentArgs,
    }

    fn parse(arguments: &str) -> Result<LinkSettings, String> {
        Program::try_parse_from(["program"].into_iter().chain(arguments.split_whitespace()))
            .map(|program| program.impairments.settings(99))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn without_flags_nothing_is_impaired() {
        let settings = parse("").unwrap();
        assert_eq!(settings, LinkSettings { seed: 99, ..LinkSettings::default() });
        assert!(settings.is_off());
    }

    #[test]
    fn every_flag_has_its_setting() {
        let settings = parse(
            "--loss 30% --burst-loss 1%,0.25 --direction both --delay 20ms --jitter 5ms \
             --jitter-shape pareto --bandwidth 64kbit,20ms --duplicate 0.01 --reorder 2% \
             --reorder-extent 3 --corrupt 0.1% --outage every=60s,for=20s --seed 7",
        );
        let expected = LinkSettings {
            loss: 0.3,
            burst_loss: Some(Burst { p: 0.01, r: 0.25 }),
            direction: LossyWay::Both,
            delay: Duration::from_millis(20),
            jitter: Duration::from_millis(5),
            jitter_shape: Shape::Pareto,
            bandwidth: Some(Bandwidth {
                rate: NonZeroU64::new(64_000).unwrap(),
                queue: Duration::from_millis(20),
            }),
            duplicate: 0.01,
            reorder: 0.02,
            reorder_hold: Duration::from_millis(1100),
            reorder_extent: 3,
            corrupt: 0.001,
            outage: Some(Outage {
                every: Duration::from_secs(60),
                lasting: Duration::from_secs(20),
            }),
            seed: 7,
        };
        assert_eq!(settings.unwrap(), expected);
    }

    #[test]
    fn a_hold_may_follow_the_ratio_and_an_outage_has_its_parts_in_any_order() {
        let settings = parse("--reorder 2%,250ms --outage for=1s,every=1m").unwrap();
        assert_eq!(settings.reorder_hold, Duration::from_millis(250));
        assert_eq!(settings.outage.unwrap().every, Duration::from_secs(60));
        assert_eq!(
            parse("--bandwidth 1Mbit").unwrap().bandwidth.unwrap().queue,
            LinkSettings::QUEUE
        );
    }

    #[test]
    fn a_direction_needs_any_of_the_losses() {
        for losses in ["--loss 1%", "--burst-loss 1%,25%", "--outage every=60s,for=20s"] {
            assert_eq!(
                parse(&format!("--direction out {losses}")).unwrap().direction,
                LossyWay::Out
            );
        }
        assert!(parse("--loss 1% --burst-loss 1%,25% --outage every=60s,for=20s").is_ok());
    }

    #[test]
    fn invalid_values_are_explained() {
        for (arguments, message) in [
            ("--loss 130%", "must be from 0% to 100%"),
            ("--loss 30", "did you mean 30%?"),
            ("--loss -1", "must be from 0% to 100%"),
            ("--delay -1s", "must be more than zero"),
            ("--delay --loss", "must be a duration"),
            ("--direction out", "--loss <RATIO>|--burst-loss <P,R>|--outage"),
            ("--direction out --delay 1s", "--loss <RATIO>|--burst-loss <P,R>|--outage"),
            ("--jitter-shape normal", "--jitter <DURATION>"),
            ("--reorder-extent 3", "--reorder <RATIO[,HOLD]>"),
            ("--burst-loss 1%", "must be two ratios"),
            ("--burst-loss 1%,x", "R must be from 0% to 100%"),
            ("--delay 20", "needs a unit"),
            ("--direction up", "must be in, out or both"),
            ("--jitter-shape bell", "must be uniform, normal or pareto"),
            ("--bandwidth 64", "the rate must be from 1bit to 1000Gbit per second"),
            ("--bandwidth 64kbit,1", "the queue needs a unit"),
            ("--reorder-extent 0", "must be a whole number from 1 to 4294967295"),
            ("--reorder 1%,1", "the hold needs a unit"),
            ("--outage 20s", "must be every=PERIOD,for=DURATION"),
            ("--outage every=60s", "must be every=PERIOD,for=DURATION"),
            ("--outage every=60s,every=20s", "must be every=PERIOD,for=DURATION"),
            ("--outage every=60s,for=60s", "shorter than its period"),
            ("--outage every=60,for=20s", "every needs a unit"),
            ("--seed x", "must be a whole number from 0 to 18446744073709551615"),
        ] {
            let error = parse(arguments).unwrap_err();
            assert!(error.contains(message), "{arguments}: {error}");
        }
    }
}
