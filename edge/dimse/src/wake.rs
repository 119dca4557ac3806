//! How a port of our own is closed: who listens there sleeps until somebody comes.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::Duration,
};

/// Knocks at the port at `address`, at which a thread of this program listens, so that it sees that it is to end.
///
/// # Errors
/// When nobody answers within five seconds.
pub fn wake(address: SocketAddr) -> io::Result<()> {
    let mut own = address;
    if own.ip().is_unspecified() {
        own.set_ip(match own.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    TcpStream::connect_timeout(&own, Duration::from_secs(5)).map(drop)
}
