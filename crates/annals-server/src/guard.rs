//! Who may talk to a server that asks nobody who they are: this machine's programs, but no web page.
//!
//! A page in a browser can send requests to loopback. Two things give it away: a rebound DNS name leaves the page's own
//! name in `Host` (or in an absolute request target), and a request to another site carries `Origin` or
//! `Sec-Fetch-Site: cross-site` (Fetch Metadata). Either is refused.
//!
//! Invariant: a host is only recognised when its whole text is understood; anything odd is refused.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, Request, Version};
use thiserror::Error;

use crate::problem::{Kind, Refusal, excerpt};

/// Listening there would let everybody in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "{addr} can be reached from other machines, and this server asks nobody who they are; listen on a loopback address \
     such as 127.0.0.1, or allow it with --allow-unauthenticated"
)]
pub struct ListenRefused {
    addr: SocketAddr,
}

/// Whether a server without authentication may listen on `addr`: on loopback always, elsewhere only when the operator
/// says so.
///
/// # Errors
/// [`ListenRefused`], with what to do instead.
pub fn check_listen(addr: SocketAddr, allow_unauthenticated: bool) -> Result<(), ListenRefused> {
    if allow_unauthenticated || addr.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    Err(ListenRefused { addr })
}

/// Checks each request of one listener.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Guard {
    bound: IpAddr,
}

impl Guard {
    pub(crate) fn for_listener(addr: SocketAddr) -> Self {
        Self {
            bound: addr.ip().to_canonical(),
        }
    }

    /// Refuses what a web page may have sent.
    pub(crate) fn check<B>(&self, request: &Request<B>) -> Result<(), Refusal> {
        let host = self.check_host(request)?;
        self.check_origin(request.headers(), host)?;
        if all(request.headers(), "sec-fetch-site").any(|site| site == Some("cross-site")) {
            return Err(Refusal::new(
                Kind::Forbidden,
                "requests from web pages of other sites are refused (Sec-Fetch-Site: cross-site)",
            ));
        }
        Ok(())
    }

    /// The host that the request is for; on loopback, one of loopback's names.
    fn check_host<'a, B>(&self, request: &'a Request<B>) -> Result<Option<&'a str>, Refusal> {
        let mut hosts = all(request.headers(), HOST.as_str());
        let host = match (hosts.next(), hosts.next()) {
            (Some(Some(host)), None) => host,
            // HTTP/1.0 has no Host, and no browser speaks it (RFC 9112 section 3.2).
            (None, _) if request.version() == Version::HTTP_10 => return Ok(None),
            _ => {
                return Err(Refusal::new(
                    Kind::BadRequest,
                    "send exactly one Host header (RFC 9112 section 3.2)",
                ));
            }
        };
        let target = request.uri().authority().map(|authority| authority.as_str());
        for named in target.into_iter().chain([host]) {
            if self.bound.is_loopback() && !self.is_own(named) {
                return Err(Refusal::new(
                    Kind::Forbidden,
                    format!(
                        "this server listens on loopback and answers only to localhost, 127.0.0.1 and [::1], not to \
                         \"{}\"; address it by one of these",
                        excerpt(named)
                    ),
                ));
            }
        }
        Ok(Some(host))
    }

    /// A page of another origin may not: on loopback only loopback's own pages, elsewhere only pages of this host.
    fn check_origin(&self, headers: &HeaderMap, host: Option<&str>) -> Result<(), Refusal> {
        for origin in all(headers, ORIGIN.as_str()) {
            let of = origin.and_then(|origin| {
                origin
                    .strip_prefix("http://")
                    .or_else(|| origin.strip_prefix("https://"))
            });
            let allowed = of.is_some_and(|of| {
                if self.bound.is_loopback() {
                    self.is_own(of)
                } else {
                    host.is_some_and(|host| host.eq_ignore_ascii_case(of))
                }
            });
            if !allowed {
                return Err(Refusal::new(
                    Kind::Forbidden,
                    format!(
                        "requests from web pages of other origins are refused (Origin: {})",
                        excerpt(origin.unwrap_or("?"))
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Whether `authority` (host, optional port) is a name of this machine's loopback.
    fn is_own(&self, authority: &str) -> bool {
        let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, port)) => {
                let address = address.parse::<Ipv6Addr>().map(IpAddr::V6);
                return is_port(port) && address.is_ok_and(|address| self.is_own_address(address));
            }
            None => match authority.find(':') {
                Some(colon) => authority.split_at(colon),
                None => (authority, ""),
            },
        };
        let is_own_address = host
            .parse()
            .is_ok_and(|address| self.is_own_address(IpAddr::V4(address)));
        is_port(port) && (host.eq_ignore_ascii_case("localhost") || is_own_address)
    }

    fn is_own_address(&self, address: IpAddr) -> bool {
        address == IpAddr::from([127, 0, 0, 1])
            || address == IpAddr::V6(Ipv6Addr::LOCALHOST)
            || address == self.bound
    }
}

/// Nothing, or a colon and a port.
fn is_port(text: &str) -> bool {
    text.is_empty()
        || text.strip_prefix(':').is_some_and(|port| {
            port.bytes().all(|digit| digit.is_ascii_digit()) && port.parse::<u16>().is_ok()
        })
}

/// All values of a header; `None` for one that is not text.
fn all<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = Option<&'a str>> {
    headers.get_all(name).into_iter().map(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_without_a_flag() {
        for (addr, fine) in [
            ("127.0.0.1:8093", true),
            ("127.9.9.9:1", true),
            ("[::1]:8093", true),
            ("[::ffff:127.0.0.1]:8093", true),
            ("0.0.0.0:8093", false),
            ("[::]:8093", false),
            ("192.168.1.1:8093", false),
            ("[::ffff:10.0.0.1]:8093", false),
        ] {
            let addr: SocketAddr = addr.parse().unwrap();
            // Red when: `check_listen` tests `is_unspecified` instead of `is_loopback`.
            assert_eq!(check_listen(addr, false).is_ok(), fine, "{addr}");
            assert_eq!(check_listen(addr, true), Ok(()), "{addr}");
        }
    }

    #[test]
    fn elsewhere_only_pages_of_the_same_host_may() {
        let guard = Guard::for_listener("10.0.0.1:8093".parse().unwrap());
        let allowed = |host: &str, origin: &str| {
            let request = Request::builder()
                .uri("/events")
                .header(HOST, host)
                .header(ORIGIN, origin);
            guard.check(&request.body(()).unwrap()).is_ok()
        };
        assert!(allowed("audit.example:8093", "http://audit.example:8093"));
        assert!(allowed("audit.example", "https://Audit.example"));
        assert!(!allowed("audit.example", "http://evil.example"));
        assert!(!allowed("audit.example", "http://localhost"));
        assert!(!allowed("audit.example", "null"));
    }

    #[test]
    fn own_names_are_recognised_as_a_whole() {
        let guard = Guard::for_listener("127.0.0.2:8093".parse().unwrap());
        for own in [
            "localhost",
            "LocalHost:80",
            "127.0.0.1",
            "127.0.0.1:8093",
            "127.0.0.2:8093",
            "[::1]",
            "[::1]:8093",
            "[0:0::1]",
        ] {
            assert!(guard.is_own(own), "{own}");
        }
        for other in [
            "",
            ":8093",
            "evil.example",
            "localhost.evil.example",
            "evil.example:127.0.0.1",
            "127.0.0.1.evil.example",
            "127.0.0.3",
            "localhost:",
            "localhost:80x",
            "localhost:99999",
            "localhost:+80",
            "user@localhost",
            "[::1",
            "[::1]x",
            "[::2]",
            "::1",
            "localhost ",
            "0.0.0.0",
            "localhost.",
            "127.1",
            "localhost:80:80",
        ] {
            assert!(!guard.is_own(other), "{other}");
        }
    }
}
