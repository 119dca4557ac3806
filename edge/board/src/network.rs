//! Whether the device is on a network, and by which address it is reached.

use std::{
    net::{IpAddr, UdpSocket},
    path::Path,
};

/// The device's address on the network that others are reached by; else the interface that is up; `None` without any.
pub fn address() -> Option<String> {
    let up = interface(Path::new("/"))?;
    Some(outward().map_or(up, |address| address.to_string()))
}

/// The first interface but loopback that is up, from the files under `root`.
fn interface(root: &Path) -> Option<String> {
    let mut interfaces: Vec<String> = std::fs::read_dir(root.join("sys/class/net"))
        .ok()?
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name != "lo")
        .filter(|name| {
            let state = std::fs::read_to_string(root.join("sys/class/net").join(name).join("operstate"));
            // Drivers that do not tell say *unknown* and are up.
            state.is_ok_and(|state| matches!(state.trim(), "up" | "unknown"))
        })
        .collect();
    interfaces.sort();
    interfaces.into_iter().next()
}

/// The address from which a packet to the outside would be sent. None is: to connect a datagram socket only looks for the way.
fn outward() -> Option<IpAddr> {
    // TEST-NET-1 (RFC 5737), which is nobody's.
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_interface_that_is_up_is_told() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(interface(root.path()), None);
        for (name, state) in [("lo", "unknown"), ("eth0", "down"), ("wlan0", "up")] {
            let folder = root.path().join("sys/class/net").join(name);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("operstate"), format!("{state}\n")).unwrap();
        }
        assert_eq!(interface(root.path()).as_deref(), Some("wlan0"));
        std::fs::write(root.path().join("sys/class/net/wlan0/operstate"), "dormant\n").unwrap();
        assert_eq!(interface(root.path()), None);
    }
}
