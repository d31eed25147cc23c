//! The public keys of an issuer, out of its JWK set.
//!
//! Law: a key serves one algorithm, the one that its own type says; whatever is not a public key of ours is passed over.

use ring::signature::{ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256};
use ring::signature::{RsaPublicKeyComponents, UnparsedPublicKey};
use serde_json::Value;

use super::base64url;
use crate::bounds;

/// How a token may be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// RSA with PKCS #1 v1.5 and SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// The algorithm of this name, if it is one of ours.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            "EdDSA" => Some(Self::EdDsa),
            _ => None,
        }
    }
}

/// A key that verifies signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    id: Option<Box<str>>,
    material: Material,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

impl PublicKey {
    /// Its `kid`.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The one algorithm that it serves.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match self.material {
            Material::Rsa { .. } => Algorithm::Rs256,
            Material::P256(_) => Algorithm::Es256,
            Material::Ed25519(_) => Algorithm::EdDsa,
        }
    }

    /// Whether a signature of `message` was made with this key.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let verified = match &self.material {
            Material::Rsa { n, e } => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            }
            Material::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            Material::Ed25519(point) => UnparsedPublicKey::new(&ED25519, point).verify(message, signature),
        };
        verified.is_ok()
    }

    fn read(jwk: &Value) -> Option<Self> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        let number = |name: &str| base64url::decode(text(name)?.as_bytes());
        let sized = |name: &str| number(name).filter(|bytes| bytes.len() == 32);
        let material = match (text("kty")?, text("crv")) {
            ("RSA", _) => Material::Rsa { n: trimmed(&number("n")?), e: trimmed(&number("e")?) },
            ("EC", Some("P-256")) => Material::P256([vec![4], sized("x")?, sized("y")?].concat()),
            ("OKP", Some("Ed25519")) => Material::Ed25519(sized("x")?),
            _ => return None,
        };
        let key = Self { id: text("kid").map(Into::into), material };
        let says = |name: &str, fits: &dyn Fn(&Value) -> bool| jwk.get(name).is_none_or(fits);
        let verifies = |value: &Value| *value == "verify";
        let meant = says("use", &|value| *value == "sig")
            && says("key_ops", &|value| value.as_array().is_some_and(|all| all.iter().any(verifies)))
            && says("alg", &|value| value.as_str().and_then(Algorithm::named) == Some(key.algorithm()));
        meant.then_some(key)
    }
}

/// The keys of a JWK set that are of use; `None` if it is not one.
#[must_use]
pub fn read(set: &Value) -> Option<Vec<PublicKey>> {
    let keys = set.get("keys")?.as_array()?;
    Some(keys.iter().filter_map(PublicKey::read).take(bounds::JWKS_KEYS).collect())
}

/// A number without its leading zeros: some issuers write one before it.
fn trimmed(number: &[u8]) -> Vec<u8> {
    number.iter().copied().skip_while(|byte| *byte == 0).collect()
}
