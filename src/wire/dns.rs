//! `dns`: a query that any name server answers (RFC 1035), over UDP. Only the probe implements it:
//! our responder is not a name server.
//!
//! A request is a header and one question: recursion is desired, and there is no EDNS, so that an
//! answer has at most 512 octets (RFC 1035 section 4.2.1). A reply repeats the ID and the question
//! (RFC 5452 section 9.1); the answer itself is not read. A server that answers is alive: the
//! response code and the truncation bit are results, not misses.
//!
//! | octets | request | reply |
//! | --- | --- | --- |
//! | 0–1 | ID | ID |
//! | 2 | RD | QR, Opcode 0, TC; the other bits as the server sets them |
//! | 3 | 0 | RCODE in the low four bits |
//! | 4–5 | 1: QDCOUNT | 1 |
//! | 6–11 | 0: ANCOUNT, NSCOUNT, ARCOUNT | any |
//! | 12– | the question: name, type, class IN | the question, letters in either case |
//!
//! The ID is all that distinguishes the replies of one target, and has 16 bits. It is a permutation
//! of the low 16 bits of the heartbeat's number, drawn for each target: 65,536 consecutive
//! heartbeats have different IDs, and an attacker off the path cannot guess them.

#[cfg(test)]
mod tests;

use std::fmt::{self, Write as _};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::str::FromStr;
use std::sync::Arc;

use super::options::{OptionSource, OptionValue, TargetOptions};
use super::protocol::Description;
use super::{
    Prober, Reply, Request,
    Unreadable::{self, Malformed},
};
use crate::model::Wall;

/// The protocol `dns`.
pub(super) static PROTOCOL: Description = Description {
    port: Some(53),
    keys: &[QUERY, QUERY_TYPE],
    sequence_bits: ID_BITS,
    results: &RESULTS,
    is_reply: Some(is_reply),
    ..Description::new(
        "dns",
        "RFC 1035, answered by any name server; reports the round trip and the response code",
    )
};

/// The length of an ID in bits (RFC 1035 section 4.1.1).
const ID_BITS: u32 = u16::BITS;

/// The option with the name that is asked for.
const QUERY: &str = "query";

/// The option with the type of record that is asked for.
const QUERY_TYPE: &str = "query_type";

/// Response codes (RFC 1035 section 4.1.1) by number, then the results without a code.
const RESULTS: [&str; 8] =
    ["noerror", "formerr", "servfail", "nxdomain", "notimp", "refused", "truncated", "other"];

/// Indices into [`RESULTS`]: a truncated answer without an error, and any other response code.
const TRUNCATED: u8 = 6;
const OTHER: u8 = 7;

/// The length of a header in octets.
const HEADER: usize = 12;

/// Bits of the header's third octet.
const QR: u8 = 0x80;
const OPCODE: u8 = 0x78;
const TC: u8 = 0x02;
const RD: u8 = 0x01;

/// The response code, in the header's fourth octet.
const RCODE: u8 = 0x0f;

/// The class IN.
const IN: [u8; 2] = [0, 1];

/// The longest name on the wire, in octets (RFC 1035 section 2.3.4).
const MAX_NAME: usize = 255;

/// The options of a `dns` target.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DnsOptions {
    /// The name that is asked for; the root by default.
    pub query: DomainName,
    /// The type of record that is asked for; NS by default.
    pub query_type: RecordType,
}

impl TargetOptions for DnsOptions {
    fn read(source: &mut dyn OptionSource) -> Self {
        Self {
            query: source.parsed(QUERY).unwrap_or_default(),
            query_type: source.parsed(QUERY_TYPE).unwrap_or_default(),
        }
    }

    fn written(&self) -> Vec<(&'static str, OptionValue)> {
        let (query, query_type) = (self.query.to_string(), self.query_type.to_string());
        vec![(QUERY, OptionValue::Text(query)), (QUERY_TYPE, OptionValue::Text(query_type))]
    }

    fn prober(&self, secret: u64) -> Arc<dyn Prober> {
        let mut question = self.query.0.to_vec();
        question.extend(self.query_type.0.to_be_bytes());
        question.extend(IN);
        Arc::new(Asker { question: question.into(), ids: Ids(secret) })
    }
}

/// The sending half for one target.
#[derive(Debug)]
struct Asker {
    /// In wire format.
    question: Box<[u8]>,
    ids: Ids,
}

impl Prober for Asker {
    /// The ID distinguishes heartbeats. No other field could distinguish targets that ask the same
    /// question.
    fn max_session(&self) -> u32 {
        0
    }

    fn sequence_bits(&self) -> u32 {
        ID_BITS
    }

    fn shares_replies_with(&self, other: &dyn Prober) -> bool {
        other.as_a::<Self>().is_some_and(|other| is_same(&self.question, &other.question))
    }

    fn replies_hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        // This also changes octets of the type. Two types may then have the same hash; `is_same`
        // distinguishes them.
        self.question.to_ascii_lowercase().hash(&mut hasher);
        hasher.finish()
    }

    #[expect(clippy::cast_possible_truncation, reason = "the ID carries the low 16 bits")]
    fn encode(&self, request: &Request, out: &mut Vec<u8>) {
        let [high, low] = self.ids.id(request.sequence as u16).to_be_bytes();
        out.extend_from_slice(&[high, low, RD, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        out.extend_from_slice(&self.question);
    }

    fn decode(&self, datagram: &[u8]) -> Result<Reply, Unreadable> {
        let (header, question) = reply(datagram).ok_or(Malformed)?;
        if !question.is_some_and(|question| is_same(question, &self.question)) {
            return Err(Unreadable::Mismatch);
        }
        let id = u16::from_be_bytes([header[0], header[1]]);
        let result = match header[3] & RCODE {
            0 if header[2] & TC != 0 => TRUNCATED,
            code if code < TRUNCATED => code,
            _ => OTHER,
        };
        let sequence = self.ids.number(id).into();
        Ok(Reply { result: Some(result), ..Reply::to(Some(0), sequence) })
    }

    /// Always true: the ID and the question bind a reply to its request, and nothing else is
    /// repeated.
    fn confirms(&self, _reply: &Reply, _sent: Wall) -> bool {
        true
    }

    fn quoted(&self, request: &[u8]) -> Option<Reply> {
        let (header, rest) = request.split_first_chunk::<HEADER>()?;
        let quoted = rest.get(..self.question.len()).filter(|_| header[2] & QR == 0)?;
        let id = u16::from_be_bytes([header[0], header[1]]);
        let reply = Reply::to(Some(0), self.ids.number(id).into());
        is_same(quoted, &self.question).then_some(reply)
    }
}

/// The header of a reply, and its question if it has exactly one. `None` if the octets are not a
/// reply.
fn reply(datagram: &[u8]) -> Option<(&[u8; HEADER], Option<&[u8]>)> {
    let (header, rest) = datagram.split_first_chunk::<HEADER>()?;
    if header[2] & (QR | OPCODE) != QR {
        return None;
    }
    if header[4..6] != [0, 1] {
        return Some((header, None));
    }
    Some((header, Some(question(rest)?)))
}

/// Whether a datagram is the reply of a name server to one question.
fn is_reply(datagram: &[u8]) -> bool {
    // No class is 0.
    matches!(reply(datagram), Some((_, Some([.., high, low]))) if (*high, *low) != (0, 0))
}

/// The question at the beginning of `octets`: a name, a type and a class. The name cannot be
/// compressed, because no name precedes it.
fn question(octets: &[u8]) -> Option<&[u8]> {
    let mut end = 0;
    loop {
        let length = usize::from(*octets.get(end)?);
        end += 1 + length;
        if length > DomainName::MAX_LABEL || end > MAX_NAME {
            return None;
        }
        if length == 0 {
            return octets.get(..end + 4);
        }
    }
}

/// Whether two questions are the same: ASCII letters of names in either case (RFC 4343), types and
/// classes exactly. The lengths of labels are never letters.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    let (Some((name, kind)), Some((other_name, other_kind))) =
        (a.split_last_chunk::<4>(), b.split_last_chunk::<4>())
    else {
        return false;
    };
    kind == other_kind && name.eq_ignore_ascii_case(other_name)
}

/// The IDs of one target: a permutation of 16 bits that its secret chooses.
///
/// Four rounds of a Feistel network over the two octets. It hides the IDs from attackers who do not
/// see the requests; an attacker who sees them can answer anyway.
#[derive(Clone, Copy)]
struct Ids(u64);

impl Ids {
    const ROUNDS: u8 = 4;

    /// The ID of the heartbeats whose numbers end in these bits.
    fn id(self, number: u16) -> u16 {
        let [mut left, mut right] = number.to_be_bytes();
        for round in 0..Self::ROUNDS {
            (left, right) = (right, left ^ self.mixed(round, right));
        }
        u16::from_be_bytes([left, right])
    }

    /// The inverse of [`id`](Self::id).
    fn number(self, id: u16) -> u16 {
        let [mut left, mut right] = id.to_be_bytes();
        for round in (0..Self::ROUNDS).rev() {
            (left, right) = (right ^ self.mixed(round, left), left);
        }
        u16::from_be_bytes([left, right])
    }

    /// A pseudo-random octet: `SplitMix64` of the secret, the round and the half.
    fn mixed(self, round: u8, half: u8) -> u8 {
        let place = u64::from(u16::from_be_bytes([round, half])) + 1;
        let mut mixed = self.0.wrapping_add(place.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed.to_be_bytes()[0]
    }
}

/// Does not show the secret.
impl fmt::Debug for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ids(…)")
    }
}

/// A domain name in wire format: labels with their lengths, and a final 0 for the root.
#[derive(Clone, PartialEq, Eq)]
pub struct DomainName(Box<[u8]>);

/// Why a text is not a valid domain name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DomainNameError {
    /// The text is empty.
    #[error("must not be empty: the root is \".\"")]
    Empty,
    /// An invalid character.
    #[error(
        "invalid character {0:?} in a domain name: must be ASCII without spaces, quotes, backslashes and control characters; write other names in their ASCII form, such as xn--bcher-kva.example"
    )]
    Character(char),
    /// An empty or too long label.
    #[error("invalid label {0:?}: must have 1 to 63 characters between dots")]
    Label(String),
    /// The whole name is too long.
    #[error("must have at most 253 characters")]
    TooLong,
}

impl DomainName {
    /// The longest label in octets (RFC 1035 section 2.3.4).
    const MAX_LABEL: usize = 63;
}

/// The root.
impl Default for DomainName {
    fn default() -> Self {
        Self([0].into())
    }
}

impl FromStr for DomainName {
    type Err = DomainNameError;

    /// A name is absolute, with or without the dot at its end.
    fn from_str(text: &str) -> Result<Self, DomainNameError> {
        if text.is_empty() {
            return Err(DomainNameError::Empty);
        }
        let unfit = |&c: &char| !c.is_ascii_graphic() || matches!(c, '\\' | '"');
        if let Some(character) = text.chars().find(unfit) {
            return Err(DomainNameError::Character(character));
        }
        let mut name = Vec::with_capacity(text.len() + 2);
        let labels = text.strip_suffix('.').unwrap_or(text).split('.');
        for label in labels.filter(|_| text != ".") {
            let length = u8::try_from(label.len()).ok();
            let length = length.filter(|&n| (1..=Self::MAX_LABEL).contains(&usize::from(n)));
            name.push(length.ok_or_else(|| DomainNameError::Label(label.to_owned()))?);
            name.extend_from_slice(label.as_bytes());
        }
        name.push(0);
        if name.len() > MAX_NAME {
            return Err(DomainNameError::TooLong);
        }
        Ok(Self(name.into()))
    }
}

/// As text, with the dot at its end.
impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = &self.0[..];
        while let Some((&length, behind)) = rest.split_first()
            && let Some((label, behind)) = behind.split_at_checked(length.into())
            && length > 0
        {
            for &octet in label {
                f.write_char(octet.into())?;
            }
            f.write_char('.')?;
            rest = behind;
        }
        if self.0.len() == 1 { f.write_char('.') } else { Ok(()) }
    }
}

impl fmt::Debug for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A type of record, such as A or MX.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordType(u16);

/// A text is not a record type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be a record type, such as {}, or TYPE and a number, not {text:?}",
    RecordType::names()
)]
pub struct UnknownRecordType {
    text: String,
}

impl RecordType {
    /// The types that have names here (RFC 1035, 2782, 3403, 3596, 4034, 8659 and 9460).
    const NAMED: [(&str, u16); 15] = [
        ("A", 1),
        ("AAAA", 28),
        ("CAA", 257),
        ("CNAME", 5),
        ("DNSKEY", 48),
        ("DS", 43),
        ("HTTPS", 65),
        ("MX", 15),
        ("NAPTR", 35),
        ("NS", 2),
        ("PTR", 12),
        ("SOA", 6),
        ("SRV", 33),
        ("SVCB", 64),
        ("TXT", 16),
    ];

    fn names() -> String {
        Self::NAMED.map(|(name, _)| name).join(", ")
    }
}

/// NS.
impl Default for RecordType {
    fn default() -> Self {
        Self(2)
    }
}

/// Its name, or the form of RFC 3597 if it has no name here.
impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMED.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "TYPE{}", self.0),
        }
    }
}

impl FromStr for RecordType {
    type Err = UnknownRecordType;

    /// A name in either case, or the form of RFC 3597: `TYPE65`.
    fn from_str(text: &str) -> Result<Self, UnknownRecordType> {
        let named = Self::NAMED.iter().find(|(name, _)| text.eq_ignore_ascii_case(name));
        let numbered = || {
            let (word, number) = text.split_at_checked("TYPE".len())?;
            let is_number = number.bytes().all(|octet| octet.is_ascii_digit());
            (word.eq_ignore_ascii_case("TYPE") && is_number).then(|| number.parse().ok())?
        };
        let number = named.map(|&(_, number)| number).or_else(numbered);
        number.map(Self).ok_or_else(|| UnknownRecordType { text: text.to_owned() })
    }
}
