//! The floor: the cost of a round trip that uses only sendmmsg(2) and recvmmsg(2).
//!
//! One thread sends batches of 64 datagrams of 44 octets (the size of STAMP) to an echo thread over
//! loopback and reads them back. Only the CPU time of the sending thread is measured, because a
//! probe is only one end. The socket is not connected, like a probe's: each datagram has its own
//! destination address.

use std::io::{IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    MsgFlags, MultiHeaders, SockaddrIn, TimestampingFlag, recvmmsg, sendmmsg, setsockopt, sockopt,
};
use nix::sys::time::TimeSpec;

use super::clock;

/// Datagrams per system call.
const BATCH: usize = 64;

/// Octets per datagram.
const OCTETS: usize = 44;

/// Maximum number of datagrams under way: enough that neither end runs out of work and sleeps.
const UNDER_WAY: usize = 8 * BATCH;

/// Round trips of one measurement.
const ROUND_TRIPS: usize = 100_000;

/// The number of measurements; the result is their median.
const REPETITIONS: usize = 5;

/// How long an echo may take before the loop gives up, in milliseconds.
const PATIENCE: u16 = 1000;

/// CPU time of the sending end for one round trip.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Floor {
    /// With no control messages at all.
    pub(crate) bare: Duration,
    /// With the kernel's receive and transmit timestamps, each read from its queue.
    pub(crate) stamped: Duration,
}

impl Floor {
    /// Measures both, in about two seconds.
    pub(crate) fn measure() -> anyhow::Result<Self> {
        Ok(Self { bare: median(false)?, stamped: median(true)? })
    }
}

fn median(stamps: bool) -> anyhow::Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..REPETITIONS {
        times.push(once(stamps).context("the bare loop")?);
    }
    times.sort_unstable();
    Ok(times[REPETITIONS / 2])
}

fn once(stamps: bool) -> anyhow::Result<Duration> {
    let echo = socket()?;
    let address = match echo.local_addr()? {
        std::net::SocketAddr::V4(address) => address,
        std::net::SocketAddr::V6(_) => anyhow::bail!("an IPv4 socket has an IPv6 address"),
    };
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let echoing = scope.spawn(|| reflect(&echo, &done));
        let sending = Sender::new(stamps).and_then(|mut sender| sender.run(address));
        done.store(true, Ordering::Relaxed);
        echoing.join().map_err(|_| anyhow::anyhow!("the echo thread panicked"))??;
        sending
    })
}

fn socket() -> anyhow::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_nonblocking(true)?;
    // Holds all datagrams under way, at about 1 KiB of kernel memory each.
    setsockopt(&socket, sockopt::RcvBuf, &(4 << 20))?;
    Ok(socket)
}

/// Sends everything back until `done`.
fn reflect(socket: &UdpSocket, done: &AtomicBool) -> anyhow::Result<()> {
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let mut replies = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let mut payloads = [[0; OCTETS]; BATCH];
    while !done.load(Ordering::Relaxed) {
        let peers = receive(socket.as_raw_fd(), &mut headers, &mut payloads, MsgFlags::empty())?;
        if peers.is_empty() {
            wait(socket, PollFlags::POLLIN, 10)?;
            continue;
        }
        send(socket.as_raw_fd(), &mut replies, &payloads[..peers.len()], &peers)?;
    }
    Ok(())
}

/// The end that is measured.
struct Sender {
    socket: UdpSocket,
    stamps: bool,
    outgoing: MultiHeaders<SockaddrIn>,
    incoming: MultiHeaders<SockaddrIn>,
    notices: MultiHeaders<SockaddrIn>,
    payloads: [[u8; OCTETS]; BATCH],
    nowhere: [[u8; OCTETS]; BATCH],
}

impl Sender {
    fn new(stamps: bool) -> anyhow::Result<Self> {
        let socket = socket()?;
        let (mut arrival, mut error) = (None, None);
        if stamps {
            let flags = TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE
                | TimestampingFlag::SOF_TIMESTAMPING_RX_SOFTWARE
                | TimestampingFlag::SOF_TIMESTAMPING_TX_SOFTWARE
                | TimestampingFlag::SOF_TIMESTAMPING_OPT_ID
                | TimestampingFlag::SOF_TIMESTAMPING_OPT_TSONLY;
            setsockopt(&socket, sockopt::Timestamping, &flags)?;
            arrival = Some(cmsg_space!([TimeSpec; 3]));
            error = Some(cmsg_space!([TimeSpec; 3], [u8; 32]));
        }
        Ok(Self {
            socket,
            stamps,
            outgoing: MultiHeaders::preallocate(BATCH, None),
            incoming: MultiHeaders::preallocate(BATCH, arrival),
            notices: MultiHeaders::preallocate(BATCH, error),
            payloads: [[0; OCTETS]; BATCH],
            nowhere: [[0; OCTETS]; BATCH],
        })
    }

    fn run(&mut self, echo: SocketAddrV4) -> anyhow::Result<Duration> {
        let peers = [Some(SockaddrIn::from(echo)); BATCH];
        let start = clock::thread_cpu()?;
        let (mut sent, mut received, mut stamped) = (0, 0, 0);
        while received < ROUND_TRIPS {
            while sent < ROUND_TRIPS && sent - received <= UNDER_WAY - BATCH {
                let fd = self.socket.as_raw_fd();
                sent += send(fd, &mut self.outgoing, &self.payloads, &peers)?;
            }
            let moved = self.read(&mut received, &mut stamped)?;
            if moved == 0 {
                let arrived = wait(&self.socket, PollFlags::POLLIN, PATIENCE)?;
                ensure!(arrived, "{} of {sent} datagrams were not echoed", sent - received);
            }
        }
        let took = clock::thread_cpu()?.saturating_sub(start);
        ensure!(!self.stamps || stamped == sent, "{stamped} of {sent} timestamps came");
        Ok(took / u32::try_from(received)?)
    }

    /// Reads all timestamps that wait, if there are any, and a batch of echoes.
    fn read(&mut self, received: &mut usize, stamped: &mut usize) -> anyhow::Result<usize> {
        let fd = self.socket.as_raw_fd();
        let mut moved = 0;
        while self.stamps {
            let queue = MsgFlags::MSG_ERRQUEUE;
            let found = receive(fd, &mut self.notices, &mut self.nowhere, queue)?.len();
            moved += found;
            *stamped += found;
            if found < BATCH {
                break;
            }
        }
        let echoed = receive(fd, &mut self.incoming, &mut self.payloads, MsgFlags::empty())?.len();
        *received += echoed;
        Ok(moved + echoed)
    }
}

/// Sends a datagram to each of `peers`. Returns how many left.
fn send(
    fd: RawFd,
    headers: &mut MultiHeaders<SockaddrIn>,
    payloads: &[[u8; OCTETS]],
    peers: &[Option<SockaddrIn>],
) -> anyhow::Result<usize> {
    let mut left = 0;
    while left < peers.len() {
        let slices: [_; BATCH] = std::array::from_fn(|index| {
            [IoSlice::new(payloads.get(left + index).map_or(&[][..], <[u8; OCTETS]>::as_slice))]
        });
        let some = &peers[left..];
        match sendmmsg(fd, headers, &slices[..some.len()], some, [], MsgFlags::MSG_DONTWAIT) {
            Ok(sent) => left += sent.count(),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(left)
}

/// Reads the datagrams that wait, at most a batch. Returns their senders.
fn receive(
    fd: RawFd,
    headers: &mut MultiHeaders<SockaddrIn>,
    payloads: &mut [[u8; OCTETS]; BATCH],
    flags: MsgFlags,
) -> anyhow::Result<Vec<Option<SockaddrIn>>> {
    let mut slices = payloads.each_mut().map(|payload| [IoSliceMut::new(payload)]);
    match recvmmsg(fd, headers, &mut slices, flags | MsgFlags::MSG_DONTWAIT, None) {
        Ok(received) => Ok(received.map(|message| message.address).collect()),
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

/// Waits for `events`, at most for `patience` milliseconds. Returns whether there are any.
fn wait(socket: &UdpSocket, events: PollFlags, patience: u16) -> anyhow::Result<bool> {
    let mut descriptors = [PollFd::new(socket.as_fd(), events)];
    match poll(&mut descriptors, PollTimeout::from(patience)) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::EINTR) => Ok(true),
        Err(error) => Err(error.into()),
    }
}
