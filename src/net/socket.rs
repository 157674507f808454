//! UDP sockets that send and receive batches ([`Socket::send`], [`Socket::receive`]) and report
//! what happened to datagrams sent earlier ([`Socket::notices`]).

use std::fmt::Debug;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{MsgFlags, SetSockOpt, TimestampingFlag, setsockopt, sockopt};
use socket2::{Domain, Protocol, Type};

use super::batch::mmsg::{self, BATCH, Head, Packet};
use super::batch::{Inbox, Outbox};
use super::clock;
use super::cmsg::Control;
use super::egress::Egress;
use super::error::{BindError, SendError};
use super::fragmentation::Fragmentation;
use super::name::KernelAddress;
use super::notice::{self, Notice};
use super::numbering::{Counted, Numbering};
use crate::model::UnsentReason;

/// The kernel stamps received datagrams and reports the timestamps
/// (Documentation/networking/timestamping.rst of Linux).
const RECEIVE_STAMPS: TimestampingFlag = TimestampingFlag::SOF_TIMESTAMPING_RX_SOFTWARE
    .union(TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE);

/// The kernel stamps sent datagrams and reports the timestamps with the number of the datagram
/// instead of its octets.
const TRANSMIT_STAMPS: TimestampingFlag = TimestampingFlag::SOF_TIMESTAMPING_TX_SOFTWARE
    .union(TimestampingFlag::SOF_TIMESTAMPING_OPT_ID)
    .union(TimestampingFlag::SOF_TIMESTAMPING_OPT_TSONLY);

/// `MSG_PROBE` of linux/socket.h: do everything except send.
const MSG_PROBE: MsgFlags = MsgFlags::from_bits_retain(0x10);

/// How many octets of an ICMP error's quote are read: more than any protocol's requests have without
/// padding.
const QUOTE: usize = 128;

/// How many times sending a datagram is retried after an error that may belong to another datagram.
const RETRIES: u32 = 2;

/// How many pending errors in a row are skipped when receiving.
const PENDING_ERRORS: u32 = 1000;

/// How a socket is opened.
///
/// Besides these options, every socket reports for each datagram its receive timestamp, its hop
/// limit and how many datagrams were dropped before it. Features that the kernel lacks are missing
/// without an error: fields of [`Datagram`](super::Datagram) are `None`, and no notices arrive.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent options, named where they are set")]
pub struct SocketOptions {
    /// The requested `SO_RCVBUF` in octets; 0 keeps the system's default. Without privileges, the
    /// system grants at most sysctl `net.core.rmem_max`; see [`Socket::receive_buffer`].
    pub receive_buffer: usize,
    /// The requested `SO_SNDBUF` in octets; 0 keeps the system's default. Without privileges, the
    /// system grants at most sysctl `net.core.wmem_max`.
    pub send_buffer: usize,
    /// Request kernel transmit timestamps, matched by [`Notice::Transmitted`]'s id.
    pub transmit_stamps: bool,
    /// Request ICMP errors on the error queue.
    pub icmp_errors: bool,
    /// Request the local address of each received datagram.
    pub local_address: bool,
    /// Request the traffic class of each received datagram.
    pub traffic_class: bool,
    /// The hop limit of sent datagrams; `None` keeps the system's default.
    pub hop_limit: Option<u8>,
    /// Share the port with other sockets of this process (`SO_REUSEPORT`).
    pub reuse_port: bool,
    /// Bind also to an address that the host does not have (`IP_FREEBIND`, ip(7)). Datagrams arrive
    /// once it has the address.
    pub free_bind: bool,
}

/// A non-blocking UDP socket, unconnected.
///
/// [`Readiness`](super::Readiness) reports when datagrams are pending.
#[derive(Debug)]
pub struct Socket {
    inner: socket2::Socket,
    local: SocketAddr,
    /// The timestamps that the kernel supports.
    stamps: TimestampingFlag,
    numbering: Numbering,
    fragmentation: Fragmentation,
    /// Notices that were read from the error queue while sending.
    stash: Vec<Notice<'static>>,
    /// Buffers for messages of the error queue and for their quotes.
    heads: Box<[Head]>,
    quotes: Box<[[u8; QUOTE]]>,
}

impl Socket {
    /// Opens and binds a socket; port 0 chooses a free port. An IPv6 socket is IPv6 only.
    ///
    /// # Errors
    /// Those of socket(2) and bind(2). Options that the kernel lacks are not errors.
    pub fn bind(address: SocketAddr, options: &SocketOptions) -> Result<Self, BindError> {
        let fail = |operation| move |source| BindError { operation, address, source };
        let domain = Domain::for_address(address);
        let socket = socket2::Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP))
            .map_err(fail("open a UDP socket for"))?;
        if address.is_ipv6() {
            socket.set_only_v6(true).map_err(fail("set IPV6_V6ONLY on the socket for"))?;
        }
        set_options(&socket, address, options);
        let stamps = set_stamps(&socket, options.transmit_stamps);
        socket.bind(&address.into()).map_err(fail("bind"))?;
        let local = socket
            .local_addr()
            .and_then(|local| local.as_socket().ok_or_else(|| Errno::EAFNOSUPPORT.into()))
            .map_err(fail("read the local address of the socket for"))?;
        let numbering = if !stamps.contains(TRANSMIT_STAMPS) {
            Numbering::Unstamped(0)
        } else if carries_ids(socket.as_fd(), local) {
            Numbering::Carried(0)
        } else {
            Numbering::Counted(Counted::default())
        };
        let fragmentation = Fragmentation::of(socket.as_fd(), local.is_ipv4());
        Ok(Self {
            inner: socket,
            local,
            stamps,
            numbering,
            fragmentation,
            stash: Vec::new(),
            heads: vec![Head::EMPTY; BATCH].into(),
            quotes: vec![[0; QUOTE]; BATCH].into(),
        })
    }

    /// The address to which the socket is bound, with the real port.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The granted `SO_RCVBUF` in octets, comparable with [`SocketOptions::receive_buffer`]: half
    /// of what getsockopt(2) returns, because the kernel doubles the requested size for its own
    /// bookkeeping.
    ///
    /// # Errors
    /// Those of getsockopt(2); none is expected.
    pub fn receive_buffer(&self) -> io::Result<usize> {
        Ok(self.inner.recv_buffer_size()? / 2)
    }

    /// Fills `inbox` with pending datagrams, at most [`Inbox::CAPACITY`], in one system call.
    ///
    /// Returns how many; 0 if none are pending. Fewer than the capacity does not mean that no more
    /// are pending, because an ICMP error ends a batch.
    ///
    /// # Errors
    /// Those of recvmmsg(2); only lack of memory is expected. Pending ICMP errors of the socket are
    /// skipped; they are among the [`Socket::notices`].
    pub fn receive(&self, inbox: &mut Inbox) -> io::Result<usize> {
        let mut pending = 0;
        loop {
            let (heads, payloads) = inbox.room();
            let outcome = mmsg::receive(self.as_fd(), heads, payloads, MsgFlags::MSG_DONTWAIT);
            inbox.filled(*outcome.as_ref().unwrap_or(&0));
            match outcome {
                Ok(count) => return Ok(count),
                Err(Errno::EAGAIN) => return Ok(0),
                Err(errno) if may_be_pending(errno) && pending < PENDING_ERRORS => pending += 1,
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Sends the datagrams in `outbox` and empties it.
    ///
    /// Calls `done` once for each datagram, in the order in which they were pushed, with its index
    /// and its id. [`Notice::Transmitted`] reports the same id, if transmit timestamps were
    /// requested. Ids count up from 0, modulo 2³².
    ///
    /// A datagram that fails does not stop the others. A pending ICMP error about an earlier
    /// datagram (ip(7), `IP_RECVERR`) is not counted as a failure of this one.
    pub fn send(
        &mut self,
        outbox: &mut Outbox,
        mut done: impl FnMut(usize, Result<u32, SendError>),
    ) {
        let mut settled = 0;
        let mut retries = 0;
        let mut absent = None;
        while settled < outbox.len() {
            let run = outbox.run(settled);
            let end = run.end;
            self.fragmentation.forbid(self.inner.as_fd(), outbox.egress(settled).dont_fragment);
            if let Numbering::Carried(next) = self.numbering {
                outbox.number(run.clone(), next);
            }
            match mmsg::send(self.as_fd(), outbox.packets(run), MsgFlags::MSG_DONTWAIT) {
                Ok(count) => {
                    for index in settled..settled + count {
                        done(index, Ok(self.numbering.sent()));
                    }
                    settled += count;
                    retries = 0;
                    if settled < end {
                        // The next datagram failed; the next call returns its error.
                        self.recount();
                    }
                }
                Err(errno) => {
                    self.recount();
                    if retries < RETRIES && may_be_pending(errno) {
                        retries += 1;
                        continue;
                    }
                    let error = match self.cause(errno, outbox, settled, &mut absent) {
                        Some(reason) => SendError::because(errno, reason),
                        None => SendError::new(errno),
                    };
                    done(settled, Err(error));
                    settled += 1;
                    retries = 0;
                }
            }
        }
        outbox.clear();
    }

    /// Why the kernel refused the datagram at `index`, if `errno` alone does not say it. `absent`
    /// caches the last check: a source address, and whether the host does not have it.
    fn cause(
        &self,
        errno: Errno,
        outbox: &Outbox,
        index: usize,
        absent: &mut Option<(SocketAddr, bool)>,
    ) -> Option<UnsentReason> {
        let Egress { source, interface, .. } = *outbox.egress(index);
        #[expect(clippy::wildcard_enum_match_arm, reason = "other numbers say enough")]
        match errno {
            Errno::EACCES if self.is_broadcast(outbox, index) => Some(UnsentReason::Broadcast),
            Errno::ENODEV | Errno::ENXIO if interface.is_some() => {
                Some(UnsentReason::InterfaceUnavailable)
            }
            // Which of the three depends on the kernel's version. Each can have other causes.
            Errno::EINVAL | Errno::EADDRNOTAVAIL | Errno::ENETUNREACH => {
                let source = outbox.source(index, source?, interface);
                let (_, is_absent) = *match absent {
                    Some(known) if known.0 == source => known,
                    _ => absent.insert((source, is_absent(source))),
                };
                is_absent.then_some(UnsentReason::SourceUnavailable)
            }
            _ => None,
        }
    }

    /// Whether the datagram at `index`, which the kernel refused with `EACCES`, goes to a broadcast
    /// address: with `SO_BROADCAST` (socket(7)), the kernel would send it. Otherwise a route
    /// prohibits it.
    fn is_broadcast(&self, outbox: &Outbox, index: usize) -> bool {
        if self.local.is_ipv6() || !ask(&self.inner, sockopt::Broadcast, &true) {
            return false;
        }
        let packet = outbox.packets(index..index + 1);
        let sent = mmsg::send(self.as_fd(), packet, MSG_PROBE | MsgFlags::MSG_DONTWAIT);
        ask(&self.inner, sockopt::Broadcast, &false);
        sent.is_ok()
    }

    /// Reads the error queue until it is empty, and passes each notice to `each`.
    pub fn notices(&mut self, mut each: impl FnMut(Notice<'_>)) {
        self.stash.drain(..).for_each(&mut each);
        self.drain(each);
    }

    fn drain(&mut self, mut each: impl FnMut(Notice<'_>)) {
        loop {
            let quotes =
                self.quotes.iter_mut().map(|quote| [quote.as_mut_slice(), Default::default()]);
            let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
            let count =
                mmsg::receive(self.inner.as_fd(), &mut self.heads, quotes, flags).unwrap_or(0);
            for (head, quote) in self.heads[..count].iter().zip(&self.quotes) {
                let quote = quote.get(..head.len).unwrap_or(quote);
                let notice = notice::read(head.name.address(), head.control(), quote);
                if let Some(notice) = notice.and_then(|notice| self.numbering.translate(notice)) {
                    each(notice);
                }
            }
            if count < self.heads.len() {
                return;
            }
        }
    }

    /// If the kernel counts the datagrams, resets its count to 0, because it may have counted a
    /// datagram that failed.
    fn recount(&mut self) {
        if !matches!(self.numbering, Numbering::Counted(_)) {
            return;
        }
        // Read the queue first: its timestamps carry numbers of the old count.
        let mut stash = std::mem::take(&mut self.stash);
        self.drain(|notice| stash.push(notice.into_owned()));
        self.stash = stash;
        // Enabling `OPT_ID` resets the count to 0.
        let off = self.stamps - TimestampingFlag::SOF_TIMESTAMPING_OPT_ID;
        let again = ask(&self.inner, sockopt::Timestamping, &off)
            && ask(&self.inner, sockopt::Timestamping, &self.stamps);
        if again && let Numbering::Counted(counted) = &mut self.numbering {
            counted.restarted(clock::now().wall);
        } else {
            self.numbering = Numbering::Unstamped(self.numbering.sent());
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.inner.as_raw_fd()
    }
}

/// Whether the host does not have this address, so that it cannot be a source. bind(2) then refuses
/// it. A link-local address without a zone is refused as well.
fn is_absent(address: SocketAddr) -> bool {
    let bound = socket2::Socket::new(Domain::for_address(address), Type::DGRAM, None)
        .and_then(|socket| socket.bind(&address.into()));
    bound.is_err_and(|error| {
        let absent = [Errno::EADDRNOTAVAIL, Errno::ENODEV, Errno::EINVAL];
        absent.iter().any(|&errno| error.raw_os_error() == Some(errno as i32))
    })
}

/// Sets all optional options except timestamps.
fn set_options(socket: &socket2::Socket, address: SocketAddr, options: &SocketOptions) {
    // With CAP_NET_ADMIN, the sysctls do not apply.
    let SocketOptions { receive_buffer, send_buffer, .. } = *options;
    if receive_buffer > 0 && setsockopt(socket, sockopt::RcvBufForce, &receive_buffer).is_err() {
        ask(socket, sockopt::RcvBuf, &receive_buffer);
    }
    if send_buffer > 0 && setsockopt(socket, sockopt::SndBufForce, &send_buffer).is_err() {
        ask(socket, sockopt::SndBuf, &send_buffer);
    }
    if options.reuse_port {
        ask(socket, sockopt::ReusePort, &true);
    }
    if options.free_bind {
        let set = if address.is_ipv4() {
            socket.set_freebind_v4(true)
        } else {
            socket.set_freebind_v6(true)
        };
        if let Err(error) = set {
            tracing::debug!(%error, "the kernel refused to bind to an absent address");
        }
    }
    ask(socket, sockopt::RxqOvfl, &1);
    let hop_limit = options.hop_limit.map(libc::c_int::from);
    if address.is_ipv4() {
        ask(socket, sockopt::Ipv4RecvTtl, &true);
        if let Some(limit) = hop_limit {
            ask(socket, sockopt::Ipv4Ttl, &limit);
        }
        if options.traffic_class {
            ask(socket, sockopt::IpRecvTos, &true);
        }
        if options.icmp_errors {
            ask(socket, sockopt::Ipv4RecvErr, &true);
        }
        if options.local_address {
            ask(socket, sockopt::Ipv4PacketInfo, &true);
        }
    } else {
        ask(socket, sockopt::Ipv6RecvHopLimit, &true);
        if let Some(limit) = hop_limit {
            ask(socket, sockopt::Ipv6Ttl, &limit);
        }
        if options.traffic_class {
            ask(socket, sockopt::Ipv6RecvTClass, &true);
        }
        if options.icmp_errors {
            ask(socket, sockopt::Ipv6RecvErr, &true);
        }
        if options.local_address {
            ask(socket, sockopt::Ipv6RecvPacketInfo, &true);
        }
    }
}

/// Requests timestamps; returns those that the kernel supports.
fn set_stamps(socket: &socket2::Socket, transmit: bool) -> TimestampingFlag {
    let both = RECEIVE_STAMPS | TRANSMIT_STAMPS;
    if transmit && ask(socket, sockopt::Timestamping, &both) {
        return both;
    }
    if ask(socket, sockopt::Timestamping, &RECEIVE_STAMPS) {
        return RECEIVE_STAMPS;
    }
    TimestampingFlag::empty()
}

/// Sets an option; returns whether the kernel accepted it.
fn ask<O: SetSockOpt + Debug + Copy>(socket: &socket2::Socket, option: O, value: &O::Val) -> bool {
    setsockopt(socket, option, value)
        .inspect_err(|error| tracing::debug!(?option, %error, "the kernel refused a socket option"))
        .is_ok()
}

/// Whether a datagram can carry the id of its transmit timestamp (Linux 6.13).
///
/// Tests this with a datagram to ourselves that is not sent. Any error means no.
fn carries_ids(socket: BorrowedFd<'_>, local: SocketAddr) -> bool {
    let mut control = Control::EMPTY;
    control.set_id(0);
    let mut here = local;
    if here.ip().is_unspecified() {
        here.set_ip(match here {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    let name = KernelAddress::new(here);
    let packet = Packet { name: name.octets(), control: control.octets(), payload: &[] };
    mmsg::send(socket, std::iter::once(packet), MSG_PROBE | MsgFlags::MSG_DONTWAIT).is_ok()
}

/// Whether an error may be a pending ICMP error about another datagram. Lack of memory always
/// concerns this one.
fn may_be_pending(errno: Errno) -> bool {
    !matches!(errno, Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM)
}

#[cfg(test)]
mod tests;
