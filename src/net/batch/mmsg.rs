//! Safe wrappers of sendmmsg(2) and recvmmsg(2).
//!
//! No pointer outlives a call, because the kernel's headers are built on the stack for each call.
//! The wrappers of nix do not fit: they share one set of control messages among all datagrams of a
//! batch, and do not restore the lengths of reused headers, which truncates control messages.
#![expect(unsafe_code, reason = "nix's wrappers of these two calls do not fit; see above")]

use std::mem::zeroed;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{from_mut, null_mut};

use nix::errno::Errno;
use nix::libc::{self, c_long, c_uint, iovec, mmsghdr};
use nix::sys::socket::MsgFlags;

use crate::net::name::KernelAddress;

/// The maximum number of datagrams per system call. Larger batches save no more time.
pub(in crate::net) const BATCH: usize = 64;

/// A datagram to be sent.
#[derive(Debug, Clone, Copy)]
pub(in crate::net) struct Packet<'a> {
    /// The destination, in the kernel's form.
    pub(in crate::net) name: &'a [u8],
    /// Control messages.
    pub(in crate::net) control: &'a [u8],
    /// Its octets.
    pub(in crate::net) payload: &'a [u8],
}

/// What the kernel reports about a received datagram.
#[derive(Debug, Clone)]
#[repr(C, align(8))]
pub(in crate::net) struct Head {
    control: [u8; Self::CONTROL],
    control_len: usize,
    /// Its source; on the error queue, the destination of the datagram that caused the message.
    pub(in crate::net) name: KernelAddress,
    /// How many of its octets were written.
    pub(in crate::net) len: usize,
    /// It was longer than the buffer.
    pub(in crate::net) truncated: bool,
}

impl Head {
    /// Room for all control messages that a [`Socket`](crate::net::Socket) requests, also on the
    /// error queue: timestamps 64, error and offender 64, address 40, hop limit, traffic class
    /// and drops 24 each.
    const CONTROL: usize = 256;

    /// A head without a received datagram.
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

/// Sends up to [`BATCH`] datagrams; returns how many the kernel accepted, at least one.
///
/// # Errors
/// Those of sendmsg(2) about the first datagram. If a later one fails, the kernel sends those
/// before it and discards the error.
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
    // SAFETY: each of the first `count` headers points to one vector, and headers and vectors point
    // to slices that live for 'a or for this frame, with their true lengths. sendmmsg(2) writes
    // only `msg_len` of the headers, which this frame owns. It only reads names, control messages
    // and payloads, whose pointers come from shared references.
    match batch(|| unsafe {
        libc::syscall(
            libc::SYS_sendmmsg,
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            count,
            flags.bits() | libc::MSG_NOSIGNAL,
        )
    }) {
        // This happens only with an empty batch. An error prevents an endless loop in the caller.
        Ok(0) => Err(Errno::EAGAIN),
        outcome => outcome,
    }
}

/// Receives datagrams into `heads` and `payloads`, at most [`BATCH`]. Each payload has two parts,
/// and the second is written to when the first is full. Returns how many, and sets that many heads.
///
/// # Errors
/// Those of recvmsg(2); `EAGAIN` if nothing is queued.
pub(in crate::net) fn receive<'a>(
    socket: BorrowedFd<'_>,
    heads: &mut [Head],
    payloads: impl Iterator<Item = [&'a mut [u8]; 2]>,
    flags: MsgFlags,
) -> Result<usize, Errno> {
    let mut vectors = [[EMPTY_VECTOR; 2]; BATCH];
    let mut headers = [empty_header(); BATCH];
    let mut room: c_uint = 0;
    for (((head, parts), vectors), header) in
        heads.iter_mut().zip(payloads).zip(&mut vectors).zip(&mut headers)
    {
        *vectors =
            parts.map(|part| iovec { iov_base: part.as_mut_ptr().cast(), iov_len: part.len() });
        let header = &mut header.msg_hdr;
        header.msg_name = head.name.room().as_mut_ptr().cast();
        header.msg_namelen = length(KernelAddress::ROOM);
        header.msg_iov = vectors.as_mut_ptr();
        header.msg_iovlen = 2;
        header.msg_control = head.control.as_mut_ptr().cast();
        header.msg_controllen = length(Head::CONTROL);
        room += 1;
    }
    // SAFETY: each of the first `room` headers points to two vectors, one name and one control
    // buffer, and each vector to one part of a payload, all with their true lengths and all
    // distinct. The pointers come from exclusive references that outlive the call and are not used
    // during it. Any octets that the kernel writes there are valid. No timeout is passed.
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

/// A header without pointers.
fn empty_header() -> mmsghdr {
    // SAFETY: the header consists of integers and pointers, for which zeros are valid. Zeroing also
    // clears musl's padding, which the kernel reads as the upper halves of lengths.
    unsafe { zeroed() }
}

/// Converts a length between the integer types of C libraries. Our lengths fit all of them.
fn length<From: TryInto<To>, To: Default>(length: From) -> To {
    length.try_into().unwrap_or_default()
}

/// Makes a system call that returns a count of datagrams, and repeats it if a signal interrupts it.
///
/// Callers use syscall(2), because musl's sendmmsg(3) is a loop over sendmsg(2).
fn batch(mut call: impl FnMut() -> c_long) -> Result<usize, Errno> {
    loop {
        match Errno::result(call()) {
            Ok(count) => return Ok(usize::try_from(count).unwrap_or(0)),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}
