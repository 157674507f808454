//! Shared keys: parses them from text, and computes and verifies tags.
//!
//! A tag is HMAC-SHA-256 truncated to 16 octets (RFC 8762 section 4.4). A key is never shown,
//! neither in logs nor on pages nor by `{:?}`.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// The length of a tag in octets.
pub(super) const TAG: usize = 16;

/// The valid lengths of a key in octets: at least the length of a tag, at most the block size of
/// the hash.
const LENGTHS: std::ops::RangeInclusive<usize> = TAG..=64;

/// The text before a key that is a passphrase.
const ASCII: &[u8] = b"ascii:";

/// The valid lengths of a passphrase in octets. Other equipment decides what it accepts, so a short
/// one is valid.
const PASSPHRASES: std::ops::RangeInclusive<usize> = 1..=64;

/// A key that both ends know. It is erased from memory when it is dropped.
#[derive(Clone)]
pub struct Key(Hmac<Sha256>);

/// Why a text is not a valid key. The messages never contain the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It contains other characters than hexadecimal digits, or an odd number of digits.
    #[error("is not a valid key: must be hexadecimal digits only, two per octet")]
    NotHexadecimal,
    /// The key is too short or too long.
    #[error("contains a key of {0} octets: must be 16 to 64")]
    Length(usize),
    /// The passphrase contains other characters than printable ASCII, or too many or none.
    #[error("contains an invalid passphrase: must be 1 to 64 printable ASCII characters")]
    Passphrase,
}

impl Key {
    /// Parses a key from the text of a key file: hexadecimal digits, or `ascii:` and a passphrase,
    /// of which every character is an octet of the key. White space around the text is ignored;
    /// spaces within a passphrase belong to it.
    ///
    /// # Errors
    /// If it is neither, or too short or too long.
    pub fn from_text(text: &[u8]) -> Result<Self, KeyError> {
        let Some(passphrase) = text.trim_ascii().strip_prefix(ASCII) else {
            return Self::from_hex(text);
        };
        let is_printable = passphrase.iter().all(|octet| matches!(octet, b' '..=b'~'));
        if !is_printable || !PASSPHRASES.contains(&passphrase.len()) {
            return Err(KeyError::Passphrase);
        }
        Hmac::new_from_slice(passphrase).map(Self).map_err(|_| KeyError::Passphrase)
    }

    /// Parses a key from hexadecimal text. White space around it is ignored.
    ///
    /// # Errors
    /// If it is not hexadecimal text, or has fewer than 16 or more than 64 octets.
    pub fn from_hex(text: &[u8]) -> Result<Self, KeyError> {
        let text = text.trim_ascii();
        let mut octets = Zeroizing::new(Vec::with_capacity(text.len() / 2));
        for pair in text.chunks(2) {
            let &[high, low] = pair else { return Err(KeyError::NotHexadecimal) };
            let digit = |digit: u8| char::from(digit).to_digit(16).ok_or(KeyError::NotHexadecimal);
            let octet = digit(high)? << 4 | digit(low)?;
            octets.push(u8::try_from(octet).map_err(|_| KeyError::NotHexadecimal)?);
        }
        if !LENGTHS.contains(&octets.len()) {
            return Err(KeyError::Length(octets.len()));
        }
        let state = Hmac::new_from_slice(&octets).map_err(|_| KeyError::Length(octets.len()))?;
        Ok(Self(state))
    }

    /// Whether both are the same key.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.verifies(&[], &other.tag(&[]))
    }

    /// The tag of the concatenated parts.
    pub(crate) fn tag(&self, parts: &[&[u8]]) -> [u8; TAG] {
        let full = self.of(parts).finalize().into_bytes();
        std::array::from_fn(|octet| full[octet])
    }

    /// Whether `tag` is the tag of the concatenated parts, in constant time.
    pub(super) fn verifies(&self, parts: &[&[u8]], tag: &[u8; TAG]) -> bool {
        self.of(parts).verify_truncated_left(tag).is_ok()
    }

    fn of(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut state = self.0.clone();
        for part in parts {
            state.update(part);
        }
        state
    }
}

/// Does not show the key.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Result<Key, KeyError> {
        Key::from_hex(text.as_bytes())
    }

    /// Test case 1 of RFC 4231.
    #[test]
    fn tags_are_those_of_the_standard_cut_short() {
        let key = key(&"0b".repeat(20)).unwrap();
        let tag = [
            0xb0, 0x34, 0x4c, 0x61, 0xd8, 0xdb, 0x38, 0x53, 0x5c, 0xa8, 0xaf, 0xce, 0xaf, 0x0b,
            0xf1, 0x2b,
        ];
        assert_eq!(key.tag(&[b"Hi ", b"There"]), tag);
        assert!(key.verifies(&[b"Hi There"], &tag));
        for octet in 0..TAG {
            let mut wrong = tag;
            wrong[octet] ^= 1;
            assert!(!key.verifies(&[b"Hi There"], &wrong));
        }
        assert!(!key.verifies(&[b"Hi there"], &tag));
    }

    #[test]
    fn a_key_is_hexadecimal_and_long_enough() {
        let text = "000102030405060708090a0b0c0d0e0F";
        let tag = key(text).unwrap().tag(&[b"x"]);
        assert_eq!(key(&format!("  {text}\r\n")).unwrap().tag(&[b"x"]), tag);
        assert_eq!(key(&text[1..]).unwrap_err(), KeyError::NotHexadecimal);
        assert_eq!(key(&text.replace('7', "g")).unwrap_err(), KeyError::NotHexadecimal);
        assert_eq!(key(&text.replacen('0', "+", 1)).unwrap_err(), KeyError::NotHexadecimal);
        assert_eq!(key(&text[2..]).unwrap_err(), KeyError::Length(15));
        assert_eq!(key("").unwrap_err(), KeyError::Length(0));
        assert!(key(&"ab".repeat(64)).is_ok());
        assert_eq!(key(&"ab".repeat(65)).unwrap_err(), KeyError::Length(65));
        assert_eq!(
            KeyError::Length(15).to_string(),
            "contains a key of 15 octets: must be 16 to 64"
        );
    }

    #[test]
    fn a_passphrase_is_a_key_as_it_is_written() {
        let tag = |text: &str| Key::from_text(text.as_bytes()).map(|key| key.tag(&[b"x"]));
        let digits = tag("636f7272656374 ".trim()).unwrap_err();
        assert_eq!(digits, KeyError::Length(7));
        let hex = tag("636f727265637420686f7273652062617474657279").unwrap();
        assert_eq!(tag("ascii:correct horse battery"), Ok(hex));
        assert_eq!(tag("  ascii:correct horse battery\r\n"), Ok(hex));
        assert_ne!(tag("ascii: correct horse battery"), Ok(hex));
        assert!(tag("ascii:x").is_ok() && tag(&format!("ascii:{}", "x".repeat(64))).is_ok());
        for text in
            ["ascii:", "ascii:schlüssel", "ascii:a\tb", &format!("ascii:{}", "x".repeat(65))]
        {
            assert_eq!(tag(text), Err(KeyError::Passphrase), "{text}");
        }
        assert_eq!(tag("ASCII:correct horse battery"), Err(KeyError::NotHexadecimal));
    }

    #[test]
    fn a_key_is_erased_when_it_is_dropped() {
        // Without the features that erase it, a hash is plain data and has nothing to drop.
        assert!(std::mem::needs_drop::<Key>());
    }

    #[test]
    fn a_key_is_not_shown() {
        assert_eq!(format!("{:?}", key(&"ab".repeat(16)).unwrap()), "Key(…)");
    }
}
