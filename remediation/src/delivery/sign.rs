//! Signatures of the Standard Webhooks specification: `v1` (HMAC-SHA256) and `v1a` (Ed25519).
//!
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>

use base64::{Engine as _, prelude::BASE64_STANDARD as BASE64};
use chrono::{DateTime, Utc};
use ring::{
    hmac,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use serde::{Deserialize, Serialize};

const SECRET: &str = "whsec_";
const PRIVATE: &str = "whsk_";
const PUBLIC: &str = "whpk_";

/// Bytes of a secret that others choose; the specification's limits.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// Keys that sign at the same time, while receivers move from one to the next.
pub const KEYS_MAX: usize = 5;

/// The keys of one destination.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Keys(pub Vec<Key>);

/// One key, and how long it signs.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Key {
    /// `whsec_…` or `whsk_…`.
    pub secret: String,
    /// It signs until then.
    pub expires_at: Option<DateTime<Utc>>,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// A new symmetric secret from dice that the caller threw.
pub fn symmetric(dice: &[u8; 32]) -> String {
    format!("{SECRET}{}", BASE64.encode(dice))
}

/// A new private key from dice that the caller threw.
pub fn asymmetric(dice: &[u8; 32]) -> String {
    format!("{PRIVATE}{}", BASE64.encode(dice))
}

/// What a receiver needs to check a private key's signatures.
pub fn public(secret: &str) -> Option<String> {
    let Ok(Parsed::Ed25519(pair)) = parse(secret) else { return None };
    Some(format!("{PUBLIC}{}", BASE64.encode(pair.public_key().as_ref())))
}

/// Says what is wrong with a secret that somebody chose.
pub fn check(secret: &str) -> Result<(), String> {
    parse(secret).map(drop)
}

impl Keys {
    /// Keys that do not end.
    pub fn new(secrets: impl IntoIterator<Item = String>) -> Self {
        Self(secrets.into_iter().map(|secret| Key { secret, expires_at: None }).collect())
    }

    /// Puts a new key in front; those before it sign until `until`.
    pub fn rotate(&mut self, secret: String, until: DateTime<Utc>) {
        for key in &mut self.0 {
            key.expires_at = Some(key.expires_at.map_or(until, |end| end.min(until)));
        }
        self.0.insert(0, Key { secret, expires_at: None });
        self.0.truncate(KEYS_MAX);
    }

    /// The value of `webhook-signature`; `None` without a valid key.
    pub fn sign(&self, id: &str, body: &[u8], now: DateTime<Utc>) -> Option<String> {
        let mut signed = format!("{id}.{}.", now.timestamp()).into_bytes();
        signed.extend_from_slice(body);
        let is_valid = |key: &&Key| key.expires_at.is_none_or(|end| now < end);
        let signatures = self.0.iter().filter(is_valid).filter_map(|key| {
            let (version, signature) = match parse(&key.secret).ok()? {
                Parsed::Hmac(key) => ("v1", hmac::sign(&key, &signed).as_ref().to_vec()),
                Parsed::Ed25519(pair) => ("v1a", pair.sign(&signed).as_ref().to_vec()),
            };
            Some(format!("{version},{}", BASE64.encode(signature)))
        });
        let all: Vec<_> = signatures.collect();
        (!all.is_empty()).then(|| all.join(" "))
    }
}

enum Parsed {
    Hmac(hmac::Key),
    Ed25519(Box<Ed25519KeyPair>),
}

fn parse(secret: &str) -> Result<Parsed, String> {
    let decode = |text: &str| BASE64.decode(text).map_err(|_| "is not base64".to_owned());
    if let Some(text) = secret.strip_prefix(PRIVATE) {
        let bytes = decode(text)?;
        // Some tools write the public half behind the seed.
        let seed = bytes.get(..32).filter(|_| matches!(bytes.len(), 32 | 64));
        let seed = seed.ok_or("must be 32 or 64 bytes long")?;
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|error| error.to_string())?;
        return Ok(Parsed::Ed25519(Box::new(pair)));
    }
    let text = secret.strip_prefix(SECRET).ok_or("must begin with `whsec_` or `whsk_`")?;
    let bytes = decode(text)?;
    if !SECRET_BYTES.contains(&bytes.len()) {
        return Err(format!("must be 24 to 64 bytes long, not {}", bytes.len()));
    }
    Ok(Parsed::Hmac(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
}

#[cfg(test)]
mod tests {
    use ring::signature::{ED25519, UnparsedPublicKey};

    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    #[test]
    fn a_signature_is_the_one_of_the_published_example() {
        let keys = Keys::new(["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned()]);
        let signature =
            keys.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", b"{\"test\": 2432232314}", at(1_614_265_330));
        assert_eq!(signature.as_deref(), Some("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
    }

    #[test]
    fn a_private_key_signs_what_its_public_half_verifies() {
        let secret = asymmetric(&[7; 32]);
        let keys = Keys::new([secret.clone()]);
        let signature = keys.sign("id", b"{}", at(5)).unwrap();
        let signature = BASE64.decode(signature.strip_prefix("v1a,").unwrap()).unwrap();
        let public = public(&secret).unwrap();
        let public = BASE64.decode(public.strip_prefix("whpk_").unwrap()).unwrap();
        UnparsedPublicKey::new(&ED25519, public).verify(b"id.5.{}", &signature).unwrap();
    }

    #[test]
    fn an_old_key_signs_beside_the_new_one_until_its_time_is_over() {
        let mut keys = Keys::new([symmetric(&[1; 32])]);
        keys.rotate(symmetric(&[2; 32]), at(100));
        let signatures = |now| keys.sign("id", b"{}", at(now)).unwrap().split(' ').count();
        assert_eq!((signatures(99), signatures(100)), (2, 1));
    }

    #[test]
    fn a_secret_that_cannot_sign_is_refused() {
        for secret in ["", "secret", "whsec_", "whsec_!!!!", "whsec_AAAA", "whsk_AAAA"] {
            check(secret).unwrap_err();
        }
    }
}
