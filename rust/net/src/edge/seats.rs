//! Seats for connections: so many in all, so many for one address.
//!
//! Law: a seat is given back when it is dropped, however its connection ended.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The seats of one kind of listener.
pub struct Seats {
    free: Arc<Semaphore>,
    per_address: usize,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A seat whose connection has not come yet.
pub struct Empty {
    permit: OwnedSemaphorePermit,
    per_address: usize,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A seat that a connection sits on.
pub struct Seat {
    _permit: OwnedSemaphorePermit,
    address: IpAddr,
    taken: Option<Arc<Mutex<HashMap<IpAddr, usize>>>>,
}

impl Seats {
    /// `all` seats, `per_address` for one address (0: no such limit).
    pub fn new(all: usize, per_address: usize) -> Self {
        let free = Arc::new(Semaphore::new(all.min(Semaphore::MAX_PERMITS)));
        Self { free, per_address, taken: Arc::default() }
    }

    /// Waits for a free seat; `None` never, while the seats exist.
    pub async fn take(&self) -> Option<Empty> {
        let permit = Arc::clone(&self.free).acquire_owned().await.ok()?;
        Some(Empty { permit, per_address: self.per_address, taken: Arc::clone(&self.taken) })
    }
}

impl Empty {
    /// Seats a connection from `address`; `None` if that address has all the seats it may have. Loopback is exempt: behind a
    /// local proxy all clients have its address.
    pub fn of(self, address: IpAddr) -> Option<Seat> {
        let address = address.to_canonical();
        if self.per_address == 0 || address.is_loopback() {
            return Some(Seat { _permit: self.permit, address, taken: None });
        }
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(address).or_default();
        if *count >= self.per_address {
            return None;
        }
        *count += 1;
        drop(taken);
        Some(Seat { _permit: self.permit, address, taken: Some(self.taken) })
    }
}

impl Seat {
    /// Whose seat it is.
    pub fn address(&self) -> IpAddr {
        self.address
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some(taken) = &self.taken else { return };
        let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_full_house_waits_for_a_seat() {
        let seats = Seats::new(1, 0);
        let seat = seats.take().await.unwrap().of("192.0.2.1".parse().unwrap()).unwrap();
        assert!(timeout(Duration::from_secs(1), seats.take()).await.is_err());
        drop(seat);
        assert!(seats.take().await.is_some());
    }

    #[tokio::test]
    async fn one_address_has_so_many_and_loopback_all() {
        let seats = Seats::new(100, 2);
        let mut held = Vec::new();
        for (address, fits) in
            [("192.0.2.1", true), ("::ffff:192.0.2.1", true), ("192.0.2.1", false), ("192.0.2.2", true)]
        {
            let seat = seats.take().await.unwrap().of(address.parse().unwrap());
            assert_eq!(seat.is_some(), fits, "{address}");
            held.extend(seat);
        }
        for _ in 0..5 {
            held.push(seats.take().await.unwrap().of("127.0.0.1".parse().unwrap()).unwrap());
        }
        held.clear();
        assert!(seats.taken.lock().unwrap().is_empty());
        assert!(seats.take().await.unwrap().of("192.0.2.1".parse().unwrap()).is_some());
    }
}
