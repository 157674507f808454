//! How many connections each client has.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A client, as far as its address tells: an IPv4 address, or an IPv6 network of 64 bits, which is
/// what one machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Client(IpAddr);

impl From<SocketAddr> for Client {
    fn from(address: SocketAddr) -> Self {
        Self(match address.ip().to_canonical() {
            IpAddr::V4(v4) => v4.into(),
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        })
    }
}

/// The connections of all clients.
#[derive(Debug, Clone, Default)]
pub(super) struct Seats(Arc<Mutex<Taken>>);

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_client: HashMap<Client, usize>,
}

/// The seat of a connection, until it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Seats,
    client: Client,
}

impl Seats {
    /// The number of connections.
    pub(super) fn taken(&self) -> usize {
        self.lock().all
    }

    /// The number of connections of a client.
    pub(super) fn of(&self, client: Client) -> usize {
        self.lock().by_client.get(&client).copied().unwrap_or(0)
    }

    /// Takes a seat.
    pub(super) fn take(&self, client: Client) -> Seat {
        let mut taken = self.lock();
        taken.all += 1;
        *taken.by_client.entry(client).or_default() += 1;
        Seat { seats: self.clone(), client }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        // No critical section can leave the numbers half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.lock();
        taken.all -= 1;
        if let Some(number) = taken.by_client.get_mut(&self.client) {
            *number -= 1;
            if *number == 0 {
                taken.by_client.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(address: &str) -> Client {
        Client::from(SocketAddr::new(address.parse().unwrap(), 1))
    }

    #[test]
    fn a_client_is_an_ipv4_address_or_an_ipv6_network() {
        assert_eq!(client("192.0.2.1"), client("::ffff:192.0.2.1"));
        assert_ne!(client("192.0.2.1"), client("192.0.2.2"));
        assert_eq!(client("2001:db8::1"), client("2001:db8::ffff:1"));
        assert_ne!(client("2001:db8::1"), client("2001:db8:0:1::1"));
    }

    #[test]
    fn seats_are_counted_until_they_are_given_up() {
        let (seats, a, b) = (Seats::default(), client("192.0.2.1"), client("192.0.2.2"));
        let taken = [seats.take(a), seats.take(b), seats.take(a)];
        assert_eq!((seats.taken(), seats.of(a), seats.of(b)), (3, 2, 1));
        drop(taken);
        assert_eq!((seats.taken(), seats.of(a), seats.of(b)), (0, 0, 0));
        assert!(seats.lock().by_client.is_empty());
    }
}
