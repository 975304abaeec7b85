//! Where a server listens, and where it says that it can be reached.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use hikyaku_accounts::Address;

use crate::exit::{Result, Trouble};

/// The port unless another is asked for.
const PORT: u16 = 4747;
/// The most addresses a link has room for.
const MAX_ADDRESSES: usize = 16;

/// The addresses asked for, or every address of this computer.
pub(super) fn to_listen_on(asked: &[SocketAddr]) -> Vec<SocketAddr> {
    if !asked.is_empty() {
        return asked.to_vec();
    }
    // A kernel without IPv6 refuses the socket itself.
    let dual = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok();
    let any = if dual { IpAddr::from(Ipv6Addr::UNSPECIFIED) } else { Ipv4Addr::UNSPECIFIED.into() };
    vec![SocketAddr::new(any, PORT)]
}

/// What invite links carry: what the operator says, or else the addresses listened on; where those are "any", the
/// ones this computer uses towards the outside, and the loopback last.
pub(super) fn advertised(said: &[String], listening: &[SocketAddr]) -> Result<Vec<Address>> {
    let mut found: Vec<Address> = Vec::new();
    let mut add = |address: Address| {
        if !found.contains(&address) && found.len() < MAX_ADDRESSES {
            found.push(address);
        }
    };
    let port = listening.first().map_or(PORT, SocketAddr::port);
    for said in said {
        add(one(said, port)?);
    }
    if said.is_empty() {
        for address in listening.iter().flat_map(|address| reachable(*address)) {
            if let Ok(address) = Address::new(&address.ip().to_string(), address.port()) {
                add(address);
            }
        }
    }
    Ok(found)
}

/// `HOST` with the port listened on, or `HOST:PORT`.
fn one(said: &str, port: u16) -> Result<Address> {
    said.parse()
        .or_else(|_| Address::new(said.trim_matches(['[', ']']), port))
        .map_err(|error| Trouble::usage(format!("--advertise {}: {error}", hikyaku::printable(said))))
}

fn reachable(address: SocketAddr) -> Vec<SocketAddr> {
    if !address.ip().is_unspecified() {
        return vec![address];
    }
    let mut ips: Vec<IpAddr> = Vec::new();
    // Nothing is sent: connecting a UDP socket only asks the routing table which address would be used. The
    // destinations are reserved for documentation.
    let outside: [(IpAddr, IpAddr); 2] = [
        (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into()),
        (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()),
    ];
    for (from, to) in outside {
        let used = UdpSocket::bind((from, 0)).and_then(|socket| {
            socket.connect((to, 9))?;
            socket.local_addr()
        });
        ips.extend(used.ok().map(|used| used.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified()));
    }
    ips.push(Ipv4Addr::LOCALHOST.into());
    ips.into_iter()
        .filter(|ip| address.is_ipv6() || ip.is_ipv4())
        .map(|ip| SocketAddr::new(ip, address.port()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(said: &[&str], listening: &[&str]) -> Vec<String> {
        let said: Vec<String> = said.iter().map(ToString::to_string).collect();
        let listening: Vec<SocketAddr> = listening.iter().map(|text| text.parse().unwrap()).collect();
        advertised(&said, &listening).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_the_operator_says_counts_and_gets_the_port_if_it_has_none() {
        assert_eq!(
            texts(&["chat.example", "10.0.0.1:99", "2001:db8::1"], &["[::]:4747"]),
            ["chat.example:4747", "10.0.0.1:99", "[2001:db8::1]:4747"]
        );
    }

    #[test]
    fn a_specific_address_is_advertised_as_it_is_and_any_address_ends_with_the_loopback() {
        assert_eq!(texts(&[], &["127.0.0.1:5"]), ["127.0.0.1:5"]);
        assert_eq!(texts(&[], &["0.0.0.0:5"]).last().map(String::as_str), Some("127.0.0.1:5"));
    }

    #[test]
    fn a_name_that_is_none_is_refused() {
        assert!(advertised(&["a b".to_owned()], &[]).is_err());
    }
}
