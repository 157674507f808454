//! sendmmsg(2) and recvmmsg(2), the one place with unsafe code: slices enter, and what the kernel
//! wrote leaves within their bounds.
//!
//! No pointer outlives a call: the headers that the kernel wants are built on the stack for each.
//! nix has wrappers, but they share one set of control messages among all datagrams of a batch,
//! and do not restore the lengths of reused headers, which cuts control messages off.
#![expect(unsafe_code, reason = "nix's wrappers of these two calls fall short; see above")]

use std::mem::zeroed;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{from_mut, null_mut};

use nix::errno::Errno;
use nix::libc::{self, c_long, c_uint, iovec, mmsghdr};
use nix::sys::socket::MsgFlags;

use crate::net::name::KernelAddress;

/// How many datagrams a system call takes at most. Beyond this, its fixed cost no longer shows.
pub(in crate::net) const BATCH: usize = 64;

/// A datagram to be sent.
#[derive(Debug, Clone, Copy)]
pub(in crate::net) struct Packet<'a> {
    /// Where to, as the kernel writes it.
    pub(in crate::net) name: &'a [u8],
    /// Control messages.
    pub(in crate::net) control: &'a [u8],
    /// Its octets.
    pub(in crate::net) payload: &'a [u8],
}

/// What the kernel tells of a received datagram.
#[derive(Debug, Clone)]
#[repr(C, align(8))]
pub(in crate::net) struct Head {
    control: [u8; Self::CONTROL],
    control_len: usize,
    /// Where it came from; on the error queue, where it had been sent to.
    pub(in crate::net) name: KernelAddress,
    /// How many octets of it were written.
    pub(in crate::net) len: usize,
    /// It had more octets than there was room for.
    pub(in crate::net) truncated: bool,
}

impl Head {
    /// Room for all control messages that a [`Socket`](crate::net::Socket) asks for, on the error
    /// queue too: times 64, error and offender 64, address 40, hop limit 24, drops 24.
    const CONTROL: usize = 256;

    /// One that nothing was received into.
    pub(in crate::net) const EMPTY: Self = Self {
        control: [0; Self::CONTROL],
        control_len: 0,
        name: KernelAddress::EMPTY,
        len: 0,
        truncated: false,
    };

    /// Its control messages.
    pub(in crate::net) fn control(&self) -> &[u8] {
        &self.control[..self.control_len]
    }
}

/// Sends up to [`BATCH`] datagrams; returns how many the kernel took, at least one.
///
/// # Errors
/// Those of sendmsg(2) about the first datagram. The kernel drops an error about a later one, and
/// takes those before it.
pub(in crate::net) fn send<'a>(
    socket: BorrowedFd<'_>,
    packets: impl Iterator<Item = Packet<'a>>,
    flags: MsgFlags,
) -> Result<usize, Errno> {
    let mut vectors = [EMPTY_VECTOR; BATCH];
    let mut headers = [empty_header(); BATCH];
    let mut count: c_uint = 0;
    for ((packet, vector), header) in packets.zip(&mut vectors).zip(&mut headers) {
        *vector = iovec {
            iov_base: packet.payload.as_ptr().cast_mut().cast(),
            iov_len: packet.payload.len(),
        };
        let header = &mut header.msg_hdr;
        header.msg_name = packet.name.as_ptr().cast_mut().cast();
        header.msg_namelen = length(packet.name.len());
        header.msg_iov = from_mut(vector);
        header.msg_iovlen = 1;
        header.msg_control = packet.control.as_ptr().cast_mut().cast();
        header.msg_controllen = length(packet.control.len());
        count += 1;
    }
    // SAFETY: the first `count` headers point to one vector each, and headers and vectors to
    // slices that live for 'a or for this frame, with their true lengths. sendmmsg(2) writes only
    // `msg_len` of the headers, which this frame owns; names, control messages and payloads, whose
    // pointers come from shared references, it only reads.
    match batch(|| unsafe {
        libc::syscall(
            libc::SYS_sendmmsg,
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            count,
            flags.bits() | libc::MSG_NOSIGNAL,
        )
    }) {
        // Only for an empty batch; an error rather than an endless loop in a caller.
        Ok(0) => Err(Errno::EAGAIN),
        outcome => outcome,
    }
}

/// Receives as many datagrams as there are heads and payloads for, at most [`BATCH`]; returns how
/// many, and sets that many heads.
///
/// # Errors
/// Those of recvmsg(2), `EAGAIN` when nothing waits.
pub(in crate::net) fn receive<'a>(
    socket: BorrowedFd<'_>,
    heads: &mut [Head],
    payloads: impl Iterator<Item = &'a mut [u8]>,
    flags: MsgFlags,
) -> Result<usize, Errno> {
    let mut vectors = [EMPTY_VECTOR; BATCH];
    let mut headers = [empty_header(); BATCH];
    let mut room: c_uint = 0;
    for (((head, payload), vector), header) in
        heads.iter_mut().zip(payloads).zip(&mut vectors).zip(&mut headers)
    {
        *vector = iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: payload.len() };
        let header = &mut header.msg_hdr;
        header.msg_name = head.name.room().as_mut_ptr().cast();
        header.msg_namelen = length(KernelAddress::ROOM);
        header.msg_iov = from_mut(vector);
        header.msg_iovlen = 1;
        header.msg_control = head.control.as_mut_ptr().cast();
        header.msg_controllen = length(Head::CONTROL);
        room += 1;
    }
    // SAFETY: the first `room` headers point to one vector, name and room for control messages
    // each, and the vectors to one payload each, all with their true lengths and all distinct,
    // from exclusive references that outlive the call and are not used until it is over. Any
    // octets that the kernel writes there are valid. No timeout is given.
    let count = batch(|| unsafe {
        libc::syscall(
            libc::SYS_recvmmsg,
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            room,
            flags.bits(),
            null_mut::<libc::timespec>(),
        )
    })?;
    for (head, header) in heads.iter_mut().zip(&headers).take(count) {
        head.name.filled(length(header.msg_hdr.msg_namelen));
        head.control_len = Head::CONTROL.min(length(header.msg_hdr.msg_controllen));
        head.len = length(header.msg_len);
        head.truncated = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
    }
    Ok(count)
}

const EMPTY_VECTOR: iovec = iovec { iov_base: null_mut(), iov_len: 0 };

/// A header of nothing.
fn empty_header() -> mmsghdr {
    // SAFETY: plain data of integers and pointers, for which zeroes are valid. They also clear
    // musl's padding, which the kernel reads as the upper halves of lengths.
    unsafe { zeroed() }
}

/// A length as the field it goes to has it, or comes from: C libraries differ, and none of ours is
/// long enough to matter.
fn length<From: TryInto<To>, To: Default>(length: From) -> To {
    length.try_into().unwrap_or_default()
}

/// Makes a system call that answers with a count of datagrams, again as long as signals end it.
///
/// By number, as musl's sendmmsg(3) is a loop over sendmsg(2).
fn batch(mut call: impl FnMut() -> c_long) -> Result<usize, Errno> {
    loop {
        match Errno::result(call()) {
            Ok(count) => return Ok(usize::try_from(count).unwrap_or(0)),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}
