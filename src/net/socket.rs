//! UDP sockets. Batches enter and leave ([`Socket::send`], [`Socket::receive`]), and [`Notice`]s
//! of what became of datagrams sent earlier leave ([`Socket::notices`]).

use std::fmt::Debug;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, SetSockOpt, TimestampingFlag, setsockopt, sockopt};
use socket2::{Domain, Protocol, Type};

use super::batch::mmsg::{self, BATCH, Head, Packet};
use super::batch::{Inbox, Outbox};
use super::clock;
use super::cmsg::Control;
use super::error::{BindError, SendError};
use super::name::KernelAddress;
use super::notice::{self, Notice};
use super::numbering::{Counted, Numbering};

/// The kernel stamps datagrams as they are received, and tells.
const RECEIVE_STAMPS: TimestampingFlag = TimestampingFlag::SOF_TIMESTAMPING_RX_SOFTWARE
    .union(TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE);

/// The kernel stamps datagrams as they are sent, and tells with their number instead of their
/// octets.
const TRANSMIT_STAMPS: TimestampingFlag = TimestampingFlag::SOF_TIMESTAMPING_TX_SOFTWARE
    .union(TimestampingFlag::SOF_TIMESTAMPING_OPT_ID)
    .union(TimestampingFlag::SOF_TIMESTAMPING_OPT_TSONLY);

/// `MSG_PROBE` of linux/socket.h: do everything but send.
const MSG_PROBE: MsgFlags = MsgFlags::from_bits_retain(0x10);

/// How many octets are read of what an ICMP error quotes: more than any protocol's requests have.
const QUOTE: usize = 128;

/// How often a datagram is tried again after an error that may be another's.
const RETRIES: u32 = 2;

/// How many standing errors in a row are passed over when receiving.
const STANDING_ERRORS: u32 = 1000;

/// How a socket is opened.
///
/// Beside what is asked for here, every socket tells of each datagram when the kernel received it,
/// its hop limit and how many were dropped before it. What a kernel cannot do goes missing without
/// an error: the fields of [`Datagram`](super::Datagram) are `None`, the notices do not come.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches, named where they are set")]
pub struct SocketOptions {
    /// Octets wanted for `SO_RCVBUF`; 0 leaves the system's default. Without privileges, the
    /// system grants at most sysctl `net.core.rmem_max`; see [`Socket::receive_buffer`].
    pub receive_buffer: usize,
    /// Octets wanted for `SO_SNDBUF`; 0 leaves the system's default. Without privileges, the
    /// system grants at most sysctl `net.core.wmem_max`.
    pub send_buffer: usize,
    /// Ask for kernel transmit timestamps, matched by [`Notice::Transmitted`]'s id.
    pub transmit_stamps: bool,
    /// Ask for ICMP errors on the error queue.
    pub icmp_errors: bool,
    /// Ask which local address each datagram was sent to.
    pub local_address: bool,
    /// Share the port with other sockets of this process (`SO_REUSEPORT`).
    pub reuse_port: bool,
}

/// A non-blocking UDP socket, unconnected.
///
/// [`Readiness`](super::Readiness) tells when datagrams or notices wait.
#[derive(Debug)]
pub struct Socket {
    inner: socket2::Socket,
    local: SocketAddr,
    /// The timestamps that the kernel agreed to.
    stamps: TimestampingFlag,
    numbering: Numbering,
    /// What was read from the error queue while sending.
    stash: Vec<Notice<'static>>,
    /// Room for messages of the error queue, and for what they quote.
    heads: Box<[Head]>,
    quotes: Box<[[u8; QUOTE]]>,
}

impl Socket {
    /// Opens and binds; port 0 picks a free one. An IPv6 socket is IPv6 only.
    ///
    /// # Errors
    /// Those of socket(2) and bind(2). Options that the kernel lacks are not errors.
    pub fn bind(address: SocketAddr, options: &SocketOptions) -> Result<Self, BindError> {
        let fail = |operation| move |source| BindError { operation, address, source };
        let domain = Domain::for_address(address);
        let socket = socket2::Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP))
            .map_err(fail("open a UDP socket for"))?;
        if address.is_ipv6() {
            socket.set_only_v6(true).map_err(fail("restrict to IPv6 the socket for"))?;
        }
        set_options(&socket, address, options);
        let stamps = set_stamps(&socket, options.transmit_stamps);
        socket.bind(&address.into()).map_err(fail("bind"))?;
        let local = socket
            .local_addr()
            .and_then(|local| local.as_socket().ok_or_else(|| Errno::EAFNOSUPPORT.into()))
            .map_err(fail("read back"))?;
        let numbering = if !stamps.contains(TRANSMIT_STAMPS) {
            Numbering::Unstamped(0)
        } else if carries_ids(socket.as_fd(), local) {
            Numbering::Carried(0)
        } else {
            Numbering::Counted(Counted::default())
        };
        Ok(Self {
            inner: socket,
            local,
            stamps,
            numbering,
            stash: Vec::new(),
            heads: vec![Head::EMPTY; BATCH].into(),
            quotes: vec![[0; QUOTE]; BATCH].into(),
        })
    }

    /// The address it is really bound to.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Octets of `SO_RCVBUF` that the system granted, in the measure of
    /// [`SocketOptions::receive_buffer`]: half of what getsockopt(2) says, as the kernel doubles what
    /// it is asked for, to cover its own bookkeeping.
    ///
    /// # Errors
    /// Those of getsockopt(2); none is expected.
    pub fn receive_buffer(&self) -> io::Result<usize> {
        Ok(self.inner.recv_buffer_size()? / 2)
    }

    /// Fills `inbox` with what has arrived, at most [`Inbox::CAPACITY`], in one system call.
    ///
    /// Returns how many; 0 when nothing waits. Fewer than the capacity does not mean that: an ICMP
    /// error that comes in ends a batch.
    ///
    /// # Errors
    /// Those of recvmmsg(2), of which only want of memory is expected. The standing errors that
    /// ICMP leaves on a socket are passed over; they are among the [`Socket::notices`].
    pub fn receive(&self, inbox: &mut Inbox) -> io::Result<usize> {
        let mut standing = 0;
        loop {
            let (heads, payloads) = inbox.room();
            let outcome = mmsg::receive(self.as_fd(), heads, payloads, MsgFlags::MSG_DONTWAIT);
            inbox.filled(*outcome.as_ref().unwrap_or(&0));
            match outcome {
                Ok(count) => return Ok(count),
                Err(Errno::EAGAIN) => return Ok(0),
                Err(errno) if may_stand(errno) && standing < STANDING_ERRORS => standing += 1,
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Sends what `outbox` holds and empties it.
    ///
    /// `done` is called once for each datagram, in the order they were pushed, with its index and
    /// the id that it will have in [`Notice::Transmitted`], if transmit timestamps were asked for.
    /// Ids count up from 0 modulo 2³² and are not used again before that.
    ///
    /// A datagram that fails does not keep the others back. The error of another one that ICMP
    /// left standing on the socket (ip(7), `IP_RECVERR`) is held against none.
    pub fn send(
        &mut self,
        outbox: &mut Outbox,
        mut done: impl FnMut(usize, Result<u32, SendError>),
    ) {
        let mut settled = 0;
        let mut retries = 0;
        while settled < outbox.len() {
            if let Numbering::Carried(next) = self.numbering {
                outbox.number(settled, next);
            }
            match mmsg::send(self.as_fd(), outbox.packets(settled), MsgFlags::MSG_DONTWAIT) {
                Ok(count) => {
                    for index in settled..settled + count {
                        done(index, Ok(self.numbering.sent()));
                    }
                    settled += count;
                    retries = 0;
                    if settled < outbox.len() {
                        // The next one failed; with which error, the following call will tell.
                        self.recount();
                    }
                }
                Err(errno) => {
                    self.recount();
                    if retries < RETRIES && may_stand(errno) {
                        retries += 1;
                        continue;
                    }
                    done(settled, Err(SendError(errno)));
                    settled += 1;
                    retries = 0;
                }
            }
        }
        outbox.clear();
    }

    /// Reads the error queue until it is empty, and tells of each message in it.
    pub fn notices(&mut self, mut each: impl FnMut(Notice<'_>)) {
        self.stash.drain(..).for_each(&mut each);
        self.drain(each);
    }

    fn drain(&mut self, mut each: impl FnMut(Notice<'_>)) {
        loop {
            let quotes = self.quotes.iter_mut().map(<[u8; QUOTE]>::as_mut_slice);
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

    /// Makes the kernel count from 0 again, where it counts and may have counted a datagram that
    /// failed.
    fn recount(&mut self) {
        if !matches!(self.numbering, Numbering::Counted(_)) {
            return;
        }
        // What is in the queue carries numbers of the old count.
        let mut stash = std::mem::take(&mut self.stash);
        self.drain(|notice| stash.push(notice.into_owned()));
        self.stash = stash;
        // Switching the numbers on sets the count to 0.
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

/// Sets what can do without: all but the timestamps.
fn set_options(socket: &socket2::Socket, address: SocketAddr, options: &SocketOptions) {
    // With CAP_NET_ADMIN, the sysctls are no limit.
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
    ask(socket, sockopt::RxqOvfl, &1);
    if address.is_ipv4() {
        ask(socket, sockopt::Ipv4RecvTtl, &true);
        if options.icmp_errors {
            ask(socket, sockopt::Ipv4RecvErr, &true);
        }
        if options.local_address {
            ask(socket, sockopt::Ipv4PacketInfo, &true);
        }
    } else {
        ask(socket, sockopt::Ipv6RecvHopLimit, &true);
        if options.icmp_errors {
            ask(socket, sockopt::Ipv6RecvErr, &true);
        }
        if options.local_address {
            ask(socket, sockopt::Ipv6RecvPacketInfo, &true);
        }
    }
}

/// Asks for timestamps; returns those that the kernel agreed to.
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

/// Sets an option; returns whether the kernel agreed.
fn ask<O: SetSockOpt + Debug + Copy>(socket: &socket2::Socket, option: O, value: &O::Val) -> bool {
    setsockopt(socket, option, value)
        .inspect_err(|error| tracing::debug!(?option, %error, "the kernel refused a socket option"))
        .is_ok()
}

/// Whether the kernel lets a datagram carry the id of its transmit timestamp (Linux 6.13).
///
/// Asked with a datagram to ourselves that is not sent; any doubt is a no.
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

/// Whether an error may be one that ICMP left standing on the socket, about another datagram: not
/// those of want of memory, which are about this one.
fn may_stand(errno: Errno) -> bool {
    !matches!(errno, Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM)
}

#[cfg(test)]
mod tests;
