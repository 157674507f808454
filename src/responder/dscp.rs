//! The DSCP with which replies leave.

use std::str::FromStr;

use crate::model::Dscp;
use crate::net::Datagram;
use crate::wire::Protocol;

/// The DSCP of STAMP replies. Replies of other protocols have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReplyDscp {
    /// That of the request, so that both ways are measured in the same class (RFC 8762 section 4.3,
    /// RFC 5357 section 4.2.1).
    #[default]
    Reflect,
    /// This one.
    Fixed(Dscp),
}

impl ReplyDscp {
    /// The traffic class of the reply to a request: the DSCP, and no ECN (RFC 2474 section 3, RFC
    /// 3168 section 5).
    pub(super) fn traffic_class(self, protocol: Protocol, request: &Datagram<'_>) -> u8 {
        match self {
            _ if protocol != Protocol::Stamp => 0,
            Self::Reflect => request.traffic_class.unwrap_or(0) & !0b11,
            Self::Fixed(dscp) => dscp.traffic_class(),
        }
    }
}

/// A text that is neither `reflect` nor a DSCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be reflect, or a DSCP by number, from 0 to 63, or by name, such as EF")]
pub struct InvalidDscp;

impl FromStr for ReplyDscp {
    type Err = InvalidDscp;

    fn from_str(text: &str) -> Result<Self, InvalidDscp> {
        match text {
            "reflect" => Ok(Self::Reflect),
            _ => text.parse().map(Self::Fixed).map_err(|_| InvalidDscp),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dscp_is_reflect_or_a_number_of_six_bits_or_a_name() {
        assert_eq!("reflect".parse(), Ok(ReplyDscp::Reflect));
        for (text, number) in [("0", 0), ("63", 63), ("EF", 46)] {
            assert_eq!(text.parse().ok(), Dscp::new(number).map(ReplyDscp::Fixed));
        }
        for text in ["64", "256", "-1", "AF44", ""] {
            assert_eq!(text.parse::<ReplyDscp>(), Err(InvalidDscp), "{text}");
        }
    }
}
