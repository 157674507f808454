//! `cargo bench --manifest-path tests/benches/micro/Cargo.toml`: the cost of each step of a heartbeat's life, without the kernel.
//!
//! Time is simulated, and nothing is sent. `cargo bench --bench capacity` measures the cost of the
//! kernel. Only CPU time counts, so that a busy machine has little influence.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{BenchmarkId, Throughput};
use nix::time::{ClockId, clock_gettime};
use udp_heartbeat::config::{Address, Defaults, Host, Target, default_rtt_buckets};
use udp_heartbeat::exposition::encode_probe;
use udp_heartbeat::impair::{self, Burst, Impairment, Outage};
use udp_heartbeat::model::{Arrival, ClockAccuracy, Moment, Mono, TargetId, Wall};
use udp_heartbeat::observe::{ProbeSample, TargetSample};
use udp_heartbeat::probe::{Detail, Fleet, Transmit};
use udp_heartbeat::session::{Buckets, Histogram, Record, Session, SessionSettings};
use udp_heartbeat::wire::{self, Arrived, MAX_DATAGRAM, Prober, Protocol, Reply, Request};

const INTERVAL: Duration = Duration::from_secs(1);

/// The time from sending to receiving.
const ROUND_TRIP: Duration = Duration::from_micros(150);

/// A moment of 2025, which every protocol accepts as the present.
const START: Moment = Moment {
    mono: Mono::from_nanos(1_000_000_000_000),
    wall: Wall::from_nanos(1_735_787_045_678_000_000),
};

type Criterion = criterion::Criterion<CpuTime>;

fn main() {
    let mut criterion = criterion::Criterion::default()
        .with_measurement(CpuTime)
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    wire(&mut criterion);
    session(&mut criterion);
    fleet(&mut criterion);
    record(&mut criterion);
    exposition(&mut criterion);
    impairments(&mut criterion);
    criterion.final_summary();
}

/// Both ends of every protocol.
fn wire(criterion: &mut Criterion) {
    for (protocol, reflect) in wire::reflecting() {
        let prober = prober(protocol);
        let mut group = criterion.benchmark_group(format!("wire/{}", protocol.name()));
        let request = Request::new(0, 123_456, START.wall);
        let arrived = Arrived::new(START.wall + ROUND_TRIP, Some(64));
        let encoded = written(|out| prober.encode(&request, out));
        let parsed = reflect.recognise(&encoded, arrived.at).expect("a request");
        let reply = written(|out| reflect.reflect(&parsed, arrived, arrived.at, out));

        let mut out = Vec::with_capacity(MAX_DATAGRAM);
        group.bench_function("encode", |bencher| {
            bencher.iter(|| {
                out.clear();
                prober.encode(black_box(&request), &mut out);
                black_box(&out);
            });
        });
        group.bench_function("recognise", |bencher| {
            bencher.iter(|| wire::recognise(black_box(&encoded), arrived.at));
        });
        let mut out = Vec::with_capacity(MAX_DATAGRAM);
        group.bench_function("reflect", |bencher| {
            bencher.iter(|| {
                out.clear();
                reflect.reflect(black_box(&parsed), arrived, arrived.at, &mut out);
                black_box(&out);
            });
        });
        group.bench_function("decode", |bencher| {
            bencher.iter(|| prober.decode(black_box(&reply)));
        });
        group.finish();
    }
}

/// The session of one target: each iteration is a heartbeat that is answered, or one that is lost.
fn session(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("session");
    let settings = SessionSettings {
        interval: INTERVAL,
        timeout: INTERVAL,
        misses: 3,
        recoveries: 1,
        recorder: 16,
    };
    let buckets = || Arc::new(Buckets::from_seconds(&default_rtt_buckets()));

    let mut session =
        Session::new(&settings, silent(), Record::new(buckets(), buckets()), START.mono);
    let mut now = START;
    group.bench_function("answered", |bencher| {
        bencher.iter(|| {
            let due = session.poll_transmit(now)?;
            session.handle_sent(now);
            session.handle_transmitted(due.sequence, now.wall + Duration::from_micros(3));
            let back = arrival(now.after(ROUND_TRIP));
            let answered = session.handle_reply(&reply(due.sequence), &back);
            now = now.after(INTERVAL);
            session.handle_timeout(now, |_| {});
            Some(answered)
        });
    });

    let mut session =
        Session::new(&settings, silent(), Record::new(buckets(), buckets()), START.mono);
    let mut now = START;
    group.bench_function("lost", |bencher| {
        bencher.iter(|| {
            let due = session.poll_transmit(now)?;
            session.handle_sent(now);
            now = now.after(INTERVAL);
            session.handle_timeout(now, |sequence| {
                black_box(sequence);
            });
            Some(due)
        });
    });
    group.finish();
}

/// A whole fleet: each iteration is a batch of heartbeats that are due, encoded, sent, stamped,
/// reflected, and answered.
fn fleet(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fleet");
    group.throughput(Throughput::Elements(Stream::BATCH.into()));
    for targets in [100, 10_000, 100_000] {
        let mut stream = Stream::new(targets);
        // Every target is probed once, so that it is known to answer.
        for _ in 0..=targets / Stream::BATCH {
            stream.step();
        }
        group.bench_function(BenchmarkId::from_parameter(targets), |bencher| {
            bencher.iter(|| stream.step());
        });
    }
    group.finish();
}

fn record(criterion: &mut Criterion) {
    let mut histogram = Histogram::new(Arc::new(Buckets::from_seconds(&default_rtt_buckets())));
    let mut delay: u64 = 0;
    criterion.bench_function("record/observe", |bencher| {
        bencher.iter(|| {
            // Delays of up to 16 ms, in an order that the branch predictor cannot guess.
            delay = delay.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            histogram.observe(black_box(delay >> 40));
        });
    });
}

/// A whole scrape, whose octets are discarded.
fn exposition(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("exposition");
    group.sample_size(10);
    for targets in [100, 10_000] {
        let mut stream = Stream::new(targets);
        for _ in 0..3 * targets {
            stream.step();
        }
        let sample = stream.sample();
        let mut octets = Octets(0);
        if let Err(error) = encode_probe(&sample, &mut octets) {
            unreachable!("counting octets cannot fail: {error}");
        }
        group.throughput(Throughput::Bytes(octets.0));
        group.bench_function(BenchmarkId::from_parameter(targets), |bencher| {
            bencher.iter(|| encode_probe(black_box(&sample), io::sink()));
        });
    }
    group.finish();
}

fn impairments(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("impair");
    let all = impair::LinkSettings {
        loss: 0.3,
        burst_loss: Some(Burst { p: 0.01, r: 0.25 }),
        delay: Duration::from_millis(20),
        jitter: Duration::from_millis(5),
        duplicate: 0.01,
        reorder: 0.01,
        corrupt: 0.001,
        outage: Some(Outage { every: 60 * INTERVAL, lasting: 20 * INTERVAL }),
        seed: 1,
        ..impair::LinkSettings::default()
    };
    for (name, settings) in [("off", impair::LinkSettings::default()), ("all", all)] {
        let mut link = Impairment::new(settings, START.mono);
        let mut now = START.mono;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                now = now + Duration::from_micros(10);
                link.judge(black_box(now))
            });
        });
    }
    group.finish();
}

/// The heartbeats of a fleet over a link on which all are answered, in order.
struct Stream {
    fleet: Fleet,
    now: Moment,
    /// The time in which a batch falls due.
    pace: Duration,
    /// Sent and not answered yet.
    under_way: Vec<(Transmit, Moment)>,
    /// The previous batch while it is answered, otherwise empty; kept so that its memory is reused.
    arriving: Vec<(Transmit, Moment)>,
    request: Vec<u8>,
    reply: Vec<u8>,
}

impl Stream {
    /// The number of heartbeats that leave in one system call.
    const BATCH: u32 = 64;

    /// A fleet of this many STAMP targets at four addresses.
    fn new(targets: u32) -> Self {
        let mut fleet = Fleet::new(&default_rtt_buckets(), Detail::Changes, None);
        // In the order in which they fall due, as the probe adds them.
        for number in 0..targets {
            let first = START.mono + Duration::from_secs(1) * number / targets;
            fleet.add_from(TargetId::first(number), Arc::new(target(number)), first);
        }
        Self {
            fleet,
            now: START,
            pace: Duration::from_secs(1) * Self::BATCH / targets,
            under_way: Vec::new(),
            arriving: Vec::new(),
            request: Vec::with_capacity(MAX_DATAGRAM),
            reply: Vec::with_capacity(MAX_DATAGRAM),
        }
    }

    /// The next batch of heartbeats leaves, and the one before is answered.
    fn step(&mut self) {
        self.now = self.now.after(self.pace);
        std::mem::swap(&mut self.under_way, &mut self.arriving);
        self.fleet.handle_timeout(self.now);
        while let Some(transmit) = self.fleet.poll_transmit(self.now) {
            self.fleet.handle_sent(transmit.ticket, self.now);
            self.under_way.push((transmit, self.now));
        }
        let mut arriving = std::mem::take(&mut self.arriving);
        for (transmit, sent) in arriving.drain(..) {
            self.answer(&transmit, sent);
        }
        self.arriving = arriving;
        while self.fleet.poll_event().is_some() {}
    }

    fn answer(&mut self, transmit: &Transmit, sent: Moment) {
        let stamped = sent.wall + Duration::from_micros(3);
        self.fleet.handle_transmitted(transmit.ticket, stamped);
        self.request.clear();
        self.fleet.encode(transmit, sent.wall, ClockAccuracy::default(), &mut self.request);
        let arrived = Arrived::new(sent.wall + ROUND_TRIP / 2, Some(64));
        self.reply.clear();
        let half = stamp().reflect().expect("it has one");
        let request = half.recognise(&self.request, arrived.at).expect("a request");
        half.reflect(&request, arrived, arrived.at, &mut self.reply);
        let back = sent.after(ROUND_TRIP);
        let arrival = Arrival { read: self.now, ..arrival(back) };
        self.fleet.handle_datagram(transmit.peer, &self.reply, &arrival);
    }

    fn sample(&self) -> ProbeSample {
        let now = self.now.mono;
        let targets: Vec<TargetSample> =
            self.fleet.ids().filter_map(|id| self.fleet.sample(id, now)).collect();
        ProbeSample {
            targets,
            label_names: BTreeSet::new(),
            schedule_lag: self.fleet.schedule_lag().clone(),
            receive_drops: 0,
            fresh_ports: 0,
            timestamps: [0; 2],
            unmatched: self.fleet.unmatched(),
            impaired: false,
            at: self.now.wall,
            clock: ClockAccuracy::default(),
            config_loaded_at: START.wall,
            config_is_newest: true,
        }
    }
}

/// The CPU time of this thread, which does nothing but the measured work.
struct CpuTime;

impl CpuTime {
    #[expect(clippy::disallowed_methods, reason = "CPU time is not a moment")]
    fn now() -> Duration {
        // This clock exists for every thread.
        clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
    }
}

impl Measurement for CpuTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        Self::now()
    }

    fn end(&self, start: Duration) -> Duration {
        Self::now().saturating_sub(start)
    }

    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        *one + *other
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, span: &Duration) -> f64 {
        WallTime.to_f64(span)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

/// Counts the octets that are written.
struct Octets(u64);

impl io::Write for Octets {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0 += octets.len() as u64;
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn target(number: u32) -> Target {
    let ip = Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() + number % 4);
    let address = Address { host: Host::Ip(IpAddr::V4(ip)), port: 12_000 };
    let defaults = Defaults { protocol: stamp(), ..Defaults::default() };
    defaults.target(format!("target-{number:06}"), address)
}

fn stamp() -> Protocol {
    wire::by_name("stamp").expect("a protocol")
}

fn prober(protocol: Protocol) -> Arc<dyn Prober> {
    protocol.default_options().prober(0)
}

/// A prober whose replies echo no timestamp.
fn silent() -> Arc<dyn Prober> {
    prober(wire::by_name("heartbeat").expect("a protocol"))
}

/// A reply with all that a protocol can report, except an echo, which the session's protocol lacks.
fn reply(sequence: u64) -> Reply {
    Reply {
        session: None,
        sequence: low(sequence),
        echo: 0,
        time_difference: Some(75_000),
        turnaround: Some(2_000),
        number: Some(low(sequence)),
        result: None,
    }
}

fn arrival(at: Moment) -> Arrival {
    Arrival { at: at.mono, kernel: Some(at.wall), read: at, ttl: Some(64) }
}

/// The low 32 bits, as the wire carries them.
#[expect(clippy::cast_possible_truncation, reason = "the wire carries no more")]
fn low(sequence: u64) -> u32 {
    sequence as u32
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::with_capacity(MAX_DATAGRAM);
    write(&mut out);
    out
}
