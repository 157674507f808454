//! Whether an answer is gzipped, by the Accept-Encoding of its request (RFC 9110 section 12.5.3).
//!
//! The compression layer of tower-http has such a parser but does not export it, and it compresses
//! on the thread that serves all connections; [`stream`](super::stream) uses another thread.

use hyper::header::{ACCEPT_ENCODING, HeaderMap};

/// Whether the client accepts gzip, and does not prefer the answer uncompressed.
pub(super) fn takes_gzip(headers: &HeaderMap) -> bool {
    let (mut gzip, mut any, mut identity) = (None, None, None);
    let lines = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
    for (coding, weight) in lines.flat_map(|line| line.split(',')).filter_map(weighted) {
        match coding.to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => gzip = Some(weight),
            "*" => any = Some(weight),
            "identity" => identity = Some(weight),
            _ => {}
        }
    }
    let gzip = gzip.or(any).unwrap_or(0);
    gzip > 0 && gzip >= identity.unwrap_or(0)
}

/// Reads `CODING[;q=WEIGHT]`; `None` for anything else.
fn weighted(item: &str) -> Option<(&str, u16)> {
    let Some((coding, parameter)) = item.split_once(';') else {
        return Some((item.trim(), 1000));
    };
    let (name, value) = parameter.split_once('=')?;
    name.trim().eq_ignore_ascii_case("q").then_some(())?;
    Some((coding.trim(), thousandths(value.trim())?))
}

/// Reads a weight, in thousandths: 0 to 1 with at most three digits after the point (RFC 9110
/// section 12.4.2).
fn thousandths(weight: &str) -> Option<u16> {
    let (whole, fraction) = weight.split_once('.').unwrap_or((weight, ""));
    let is_digits = |text: &str| text.bytes().all(|octet| octet.is_ascii_digit());
    if !matches!(whole, "0" | "1") || fraction.len() > 3 || !is_digits(fraction) {
        return None;
    }
    let sum: u16 = format!("{whole}{fraction:0<3}").parse().ok()?;
    (sum <= 1000).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(lines: &[&'static str]) -> bool {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(ACCEPT_ENCODING, hyper::header::HeaderValue::from_static(line));
        }
        takes_gzip(&headers)
    }

    #[test]
    fn gzip_is_used_if_it_is_accepted() {
        for lines in [
            &["gzip"][..],
            &["GZip"],
            &["x-gzip"],
            &["deflate, gzip;q=1.0, *;q=0.5"],
            &["gzip;q=0.001"],
            &["gzip ; q = 0.8 , identity;q=0.5"],
            &["gzip,identity"],
            &["*"],
            &["br, *;q=0.1"],
            &["br", "gzip"],
            &["identity;q=0, gzip;q=0.5"],
        ] {
            assert!(takes(lines), "{lines:?}");
        }
    }

    #[test]
    fn gzip_is_not_used_if_it_is_not_accepted_or_not_preferred() {
        for lines in [
            &[][..],
            &[""],
            &["identity"],
            &["br, deflate"],
            &["gzip;q=0"],
            &["gzip;q=0.000"],
            &["gzip;q=0, *"],
            &["*;q=0"],
            &["gzip;q=0.5, identity;q=0.8"],
            &["gzip;q=1.001"],
            &["gzip;q=2"],
            &["gzip;q=-1"],
            &["gzip;q=0.0001"],
            &["gzip;q="],
            &["gzip;level=9"],
            &["gzipped"],
            &[";;,=,;q=1"],
        ] {
            assert!(!takes(lines), "{lines:?}");
        }
    }
}
