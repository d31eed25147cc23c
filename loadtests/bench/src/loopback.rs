//! Neither end of the bench ever talks to another machine.

use std::net::{Ipv4Addr, SocketAddrV4};

/// An address within 127/8, or a refusal in words.
pub fn address(host: &str, port: u16) -> Result<SocketAddrV4, String> {
    match host.parse::<Ipv4Addr>() {
        Ok(ip) if ip.is_loopback() => Ok(SocketAddrV4::new(ip, port)),
        _ => Err(format!("{host} is not an address in 127.0.0.0/8: the bench stays on loopback")),
    }
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn only_loopback_is_let_through() {
        assert!(address("127.0.0.1", 80).is_ok());
        assert!(address("127.9.8.7", 80).is_ok());
        for other in ["10.0.0.1", "0.0.0.0", "128.0.0.1", "localhost", "::1", ""] {
            assert!(address(other, 80).is_err(), "{other}");
        }
    }
}
