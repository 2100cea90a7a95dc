//! Ports that servers will listen on, for programs that cannot report the one they got.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;

use anyhow::{Result, ensure};

/// Below the range from which the kernel takes ports for outgoing connections and for port 0, so
/// that a server can have its port again after a restart.
const RANGE: Range<u16> = 20_000..32_000;

/// This many different ports that are free now.
pub(super) fn free<const N: usize>() -> Result<[u16; N]> {
    let mut ports = [0; N];
    let mut found = 0;
    for port in candidates() {
        if found == N {
            break;
        }
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            ports[found] = port;
            found += 1;
        }
    }
    ensure!(found == N, "no {N} free ports in {RANGE:?}");
    Ok(ports)
}

/// The whole range once, from a random place on: two launches at once rarely meet.
fn candidates() -> impl Iterator<Item = u16> {
    let length = u64::try_from(RANGE.len()).unwrap_or(1);
    let skip = usize::try_from(random() % length).unwrap_or(0);
    RANGE.skip(skip).chain(RANGE.take(skip))
}

/// A number that differs between processes and calls; no secret depends on it.
pub(super) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn free_ports_differ_and_can_be_bound() {
        let ports: [u16; 4] = free().expect("ports");

        assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), 4);
        for port in ports {
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("a free port");
        }
    }

    #[test]
    fn every_port_of_the_range_is_tried_once() {
        let tried: Vec<u16> = candidates().collect();

        assert_eq!(tried.len(), RANGE.len());
        assert_eq!(tried.iter().collect::<BTreeSet<_>>().len(), RANGE.len());
    }
}
