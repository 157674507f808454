//! Checks passwords (RFC 7617) against bcrypt hashes, one at a time.
//!
//! bcrypt takes long on purpose. The outcome is remembered, so that each scrape does not compute it
//! again, and a flood of wrong passwords does not delay a client whose password is known.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use zeroize::Zeroizing;

/// How many wrong passwords are remembered.
const WRONG: usize = 256;

/// How long a request waits for the comparisons of others.
const TURN: Duration = Duration::from_secs(5);

/// What is known about passwords.
#[derive(Debug)]
pub(super) struct Passwords {
    known: Mutex<Known>,
    comparing: Semaphore,
}

/// A digest of a user, the hash of its password, and a password.
type Tried = [u8; 32];

#[derive(Debug, Default)]
struct Known {
    /// The right password of each user.
    right: HashMap<String, Tried>,
    /// The newest wrong ones.
    wrong: VecDeque<Tried>,
}

/// What a request showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The password of a user.
    Right,
    /// Anything else, or nothing.
    Wrong,
    /// Too many passwords are waiting to be compared.
    Busy,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { known: Mutex::default(), comparing: Semaphore::new(1) }
    }
}

impl Passwords {
    /// Compares the password in `headers` with the hashes of `users`.
    pub(super) async fn check(
        &self,
        users: &BTreeMap<String, String>,
        headers: &HeaderMap,
    ) -> Verdict {
        let Some((user, password)) = credentials(headers) else { return Verdict::Wrong };
        let own = users.get(&user);
        // For an unknown user, another hash is compared: the time must not show which users exist.
        let Some(hash) = own.or_else(|| users.values().next()) else { return Verdict::Wrong };
        let tried = digest(&user, own.map_or("", String::as_str), &password);
        if let Some(verdict) = self.lock().verdict(&user, &tried) {
            return verdict;
        }
        let Ok(Ok(_turn)) = timeout(TURN, self.comparing.acquire()).await else {
            return Verdict::Busy;
        };
        // Another request may have brought the same password meanwhile.
        if let Some(verdict) = self.lock().verdict(&user, &tried) {
            return verdict;
        }
        let hash = hash.clone();
        let compared = spawn_blocking(move || bcrypt::verify(&password[..], &hash)).await;
        let is_right = matches!(compared, Ok(Ok(true))) && own.is_some();
        let mut known = self.lock();
        known.right.retain(|user, _| users.contains_key(user));
        known.note(user, tried, is_right);
        if is_right { Verdict::Right } else { Verdict::Wrong }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // No critical section can leave the tables half changed.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn verdict(&self, user: &str, tried: &Tried) -> Option<Verdict> {
        if self.right.get(user) == Some(tried) {
            return Some(Verdict::Right);
        }
        self.wrong.contains(tried).then_some(Verdict::Wrong)
    }

    fn note(&mut self, user: String, tried: Tried, is_right: bool) {
        if is_right {
            self.right.insert(user, tried);
            return;
        }
        if self.wrong.len() >= WRONG {
            self.wrong.pop_front();
        }
        self.wrong.push_back(tried);
    }
}

/// The user and the password of a request.
fn credentials(headers: &HeaderMap) -> Option<(String, Zeroizing<Vec<u8>>)> {
    let (scheme, encoded) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = Zeroizing::new(STANDARD.decode(encoded.trim()).ok()?);
    let colon = decoded.iter().position(|&octet| octet == b':')?;
    let user = str::from_utf8(&decoded[..colon]).ok()?.to_owned();
    Some((user, Zeroizing::new(decoded[colon + 1..].to_vec())))
}

fn digest(user: &str, hash: &str, password: &[u8]) -> Tried {
    let mut digest = Sha256::new();
    for part in [user.as_bytes(), hash.as_bytes(), password] {
        digest.update(part.len().to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn asking(user: &str, password: &str) -> HeaderMap {
        let text = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(&text).unwrap())])
    }

    fn users() -> BTreeMap<String, String> {
        let hash = |password: &str| bcrypt::hash(password, 4).unwrap();
        BTreeMap::from([("ann".to_owned(), hash("s3:cret")), ("bob".to_owned(), hash(""))])
    }

    #[tokio::test]
    async fn only_the_password_of_the_user_is_right() {
        let (passwords, users) = (Passwords::default(), users());
        // The second round uses what the first has remembered.
        for _ in 0..2 {
            for (user, password, verdict) in [
                ("ann", "s3:cret", Verdict::Right),
                ("bob", "", Verdict::Right),
                ("ann", "", Verdict::Wrong),
                ("bob", "s3:cret", Verdict::Wrong),
                ("eve", "s3:cret", Verdict::Wrong),
                ("", "", Verdict::Wrong),
            ] {
                let shown = asking(user, password);
                assert_eq!(passwords.check(&users, &shown).await, verdict, "{user}:{password}");
            }
        }
        assert_eq!(passwords.lock().wrong.len(), 4);
    }

    #[tokio::test]
    async fn a_known_password_is_wrong_once_its_hash_has_changed() {
        let (passwords, mut users) = (Passwords::default(), users());
        let shown = asking("ann", "s3:cret");
        assert_eq!(passwords.check(&users, &shown).await, Verdict::Right);
        users.insert("ann".to_owned(), bcrypt::hash("other", 4).unwrap());
        assert_eq!(passwords.check(&users, &shown).await, Verdict::Wrong);
        assert_eq!(passwords.check(&users, &asking("ann", "other")).await, Verdict::Right);
        // The hash of the only other user is compared in place of the missing one.
        let hash = users.remove("ann").unwrap();
        users.insert("bob".to_owned(), hash);
        let shown = asking("ann", "other");
        assert_eq!(passwords.check(&users, &shown).await, Verdict::Wrong);
    }

    #[tokio::test]
    async fn headers_without_a_user_and_a_password_are_wrong() {
        let (passwords, users) = (Passwords::default(), users());
        let colonless = format!("Basic {}", STANDARD.encode("ann"));
        for value in ["", "Basic", "Basic ", "Basic ???", "Bearer s3:cret", colonless.as_str()] {
            let value = HeaderValue::from_str(value).unwrap();
            let shown = HeaderMap::from_iter([(AUTHORIZATION, value)]);
            assert_eq!(passwords.check(&users, &shown).await, Verdict::Wrong);
        }
        assert_eq!(passwords.check(&users, &HeaderMap::new()).await, Verdict::Wrong);
    }

    #[tokio::test]
    async fn the_memory_of_wrong_passwords_is_bounded() {
        let passwords = Passwords::default();
        for n in 0..WRONG + 9 {
            let tried = digest("ann", "", &n.to_be_bytes());
            passwords.lock().note("ann".to_owned(), tried, false);
        }
        assert_eq!(passwords.lock().wrong.len(), WRONG);
    }
}
