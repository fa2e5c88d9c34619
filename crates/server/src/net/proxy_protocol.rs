//! The header by which a proxy says, before anything else, for whom it has connected: PROXY, versions 1 and 2.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::wire::stream::Stream;

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// A line of version 1 has no more, its end included.
const LINE_BYTES_MAX: usize = 107;

/// Bytes behind the first sixteen of version 2 that are taken: addresses, and what a proxy adds to them.
const REST_BYTES_MAX: usize = 2_048;

/// What a header says, as far as it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    /// It is not whole; it has at least so many bytes more.
    More(usize),
    /// It is whole, and names a client, or nobody: the proxy speaks for itself.
    Whole(Option<SocketAddr>),
    /// It is none.
    Malformed,
}

/// Reads the beginning of a connection, which ends no later than the header does.
pub(crate) fn header(said: &[u8]) -> Header {
    match said.len() {
        // The shortest line is longer.
        0..12 => Header::More(12 - said.len()),
        _ if said.starts_with(SIGNATURE) => binary(said),
        _ => line(said),
    }
}

fn line(said: &[u8]) -> Header {
    if !said.starts_with(b"PROXY ") || said.len() > LINE_BYTES_MAX {
        return Header::Malformed;
    }
    let Some(line) = said.strip_suffix(b"\n") else {
        // What comes behind the line is not the proxy's.
        return if said.len() == LINE_BYTES_MAX { Header::Malformed } else { Header::More(1) };
    };
    let Some(line) = line.strip_suffix(b"\r").and_then(|line| std::str::from_utf8(line).ok()) else {
        return Header::Malformed;
    };
    let parts: Vec<&str> = line.split(' ').collect();
    match parts[..] {
        ["PROXY", "UNKNOWN", ..] => Header::Whole(None),
        ["PROXY", family @ ("TCP4" | "TCP6"), from, to, from_port, to_port] => {
            let address = |text: &str| text.parse::<IpAddr>().ok().filter(|it| it.is_ipv4() == (family == "TCP4"));
            let port = |text: &str| text.parse::<u16>().ok().filter(|_| text.bytes().all(|it| it.is_ascii_digit()));
            match (address(from), address(to), port(from_port), port(to_port)) {
                (Some(from), Some(_), Some(port), Some(_)) => Header::Whole(Some(SocketAddr::new(from, port))),
                _ => Header::Malformed,
            }
        }
        _ => Header::Malformed,
    }
}

fn binary(said: &[u8]) -> Header {
    let Some((&[version_and_command, family, high, low], rest)) = said[SIGNATURE.len()..].split_first_chunk::<4>()
    else {
        return Header::More(SIGNATURE.len() + 4 - said.len());
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if version_and_command >> 4 != 2 || length > REST_BYTES_MAX || rest.len() > length {
        return Header::Malformed;
    }
    if rest.len() < length {
        return Header::More(length - rest.len());
    }
    match (version_and_command & 0xf, family >> 4) {
        // The proxy asks how we are.
        (0, _) => Header::Whole(None),
        (1, 1) => match rest.first_chunk::<12>() {
            Some(&[a, b, c, d, _, _, _, _, high, low, _, _]) => {
                Header::Whole(Some(SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), u16::from_be_bytes([high, low]))))
            }
            None => Header::Malformed,
        },
        (1, 2) => match (rest.first_chunk::<16>(), rest.get(32..34), rest.get(34..36)) {
            (Some(from), Some(&[high, low]), Some(_)) => {
                Header::Whole(Some(SocketAddr::new(Ipv6Addr::from(*from).into(), u16::from_be_bytes([high, low]))))
            }
            _ => Header::Malformed,
        },
        // No address that we know, as of a Unix socket.
        (1, 0 | 3) => Header::Whole(None),
        _ => Header::Malformed,
    }
}

/// Takes the header off a connection, and nothing of what comes behind it.
///
/// # Errors
/// What the socket says, and that there is none.
pub(crate) async fn take(stream: &Stream) -> io::Result<Option<SocketAddr>> {
    let mut said = Vec::with_capacity(LINE_BYTES_MAX);
    loop {
        let wanted = match header(&said) {
            Header::Whole(client) => return Ok(client),
            Header::Malformed => return Err(ErrorKind::InvalidData.into()),
            Header::More(wanted) => wanted,
        };
        let begin = said.len();
        said.resize(begin + wanted, 0);
        let read = loop {
            stream.readable().await?;
            match stream.try_read(&mut said[begin..]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => break read?,
            }
        };
        if read == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        said.truncate(begin + read);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of a header that comes in pieces as they are asked for, and how many bytes were taken.
    fn taken(all: &[u8]) -> (Header, usize) {
        let mut have = 0;
        loop {
            match header(&all[..have]) {
                Header::More(more) if have + more <= all.len() => have += more,
                other => return (other, have),
            }
        }
    }

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[0x20 | command, family], &length, rest].concat()
    }

    #[test]
    fn a_header_names_a_client_and_nothing_behind_it_is_taken() {
        let v4 = "203.0.113.7:1234".parse().ok();
        let v6 = "[2001:db8::1]:1234".parse().ok();
        let port = 1_234_u16.to_be_bytes();
        let of_v4 = [&[203, 0, 113, 7, 10, 0, 0, 1][..], &port, &[0, 80]].concat();
        let from: Ipv6Addr = "2001:db8::1".parse().unwrap();
        let of_v6 = [&from.octets()[..], &[0; 16], &port, &[0, 80], b"more that it adds"].concat();
        for (header, expected) in [
            (b"PROXY TCP4 203.0.113.7 10.0.0.1 1234 80\r\n".to_vec(), v4),
            (b"PROXY TCP6 2001:db8::1 ::1 1234 80\r\n".to_vec(), v6),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN what follows is not read\r\n".to_vec(), None),
            (v2(1, 0x11, &of_v4), v4),
            (v2(1, 0x21, &of_v6), v6),
            (v2(0, 0, &[]), None),
            (v2(1, 0x31, &[0; 216]), None),
        ] {
            for behind in [&b""[..], b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\n"] {
                let found = taken(&[&header[..], behind].concat());
                assert_eq!(found, (Header::Whole(expected), header.len()), "{}", header.escape_ascii());
            }
            for length in 0..header.len() {
                assert!(matches!(taken(&header[..length]).0, Header::More(_)), "{}", header.escape_ascii());
            }
        }
    }

    #[test]
    fn what_is_no_header_is_none() {
        let long = [b"PROXY TCP4 ".to_vec(), vec![b'1'; 200]].concat();
        for wrong in [
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00".to_vec(),
            b"PROXY TCP4 203.0.113.7 10.0.0.1 1234 80\n".to_vec(),
            b"PROXY TCP4 2001:db8::1 ::1 1234 80\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.7 10.0.0.1 +234 80\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.7 10.0.0.1 1234\r\n".to_vec(),
            b"PROXY TCP4  203.0.113.7 10.0.0.1 1234 80\r\n".to_vec(),
            long,
            v2(2, 0x11, &[0; 12]),
            v2(1, 0x11, &[0; 11]),
            v2(1, 0x21, &[0; 35]),
            v2(1, 0x41, &[0; 12]),
            v2(0, 0, &[0; REST_BYTES_MAX + 1]),
            [&SIGNATURE[..], &[0x11, 0x11, 0, 0]].concat(),
        ] {
            assert_eq!(taken(&wrong).0, Header::Malformed, "{}", wrong.escape_ascii());
        }
    }
}
