//! Ports that stay free while nobody listens on them.

use std::{fs::File, net::TcpListener, sync::Mutex};

/// Below those that Linux takes for outgoing connections (from 32768, `ip_local_port_range` in ip(7)): one of
/// those could take the port of a service between a kill and the next start.
const FIRST: u16 = 18_000;
const COUNT: u32 = 12_000;

/// A port for as long as this program runs: no other program of tests is given it, and no other test of
/// this one.
pub fn free_port() -> u16 {
    /// Locked; closing a file would unlock it.
    static HELD: Mutex<Vec<File>> = Mutex::new(Vec::new());
    let dir = std::env::temp_dir().join("gatelog-test-ports");
    std::fs::create_dir_all(&dir).unwrap();
    // Programs that run at the same time begin at different places.
    let start = std::process::id().wrapping_mul(97);
    for n in 0..COUNT {
        let port = FIRST + u16::try_from(start.wrapping_add(n) % COUNT).unwrap();
        let file = File::options().create(true).append(true).open(dir.join(port.to_string())).unwrap();
        if file.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            HELD.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(file);
            return port;
        }
    }
    panic!("no port from {FIRST} on is free");
}
