//! Tokens against an issuer's entry: what passes, and every way to cheat that has a name.

use ring::hmac;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

use super::{Issuer, Wrong, base64url, fingerprint, is_token, jwks, verify};
use crate::auth::Key;
use crate::snapshot::document::Fields;

const NOW: f64 = 1_800_000_000.0;

/// RFC 7515 A.2 and A.3, RFC 8037 A.4: the key, what was signed, the signature.
const RSA_N: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
const RSA_SIGNED: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
const RSA_SIGNATURE: &str = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
const EC_X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
const EC_Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";
const EC_SIGNED: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
const EC_SIGNATURE: &str =
    "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
const ED_X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
const ED_SIGNED: &str = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
const ED_SIGNATURE: &str =
    "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";

fn encode(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let digits = |group: &[u8]| {
        let bits =
            group.iter().chain(&[0, 0]).take(3).fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        let all = [18, 12, 6, 0].map(|shift| char::from(DIGITS[bits >> shift & 63]));
        all.into_iter().take(group.len() + 1).collect::<String>()
    };
    bytes.chunks(3).map(digits).collect()
}

fn signer() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
}

fn signed_as(header: &str, claims: &str) -> String {
    let signed = format!("{}.{}", encode(header.as_bytes()), encode(claims.as_bytes()));
    let signature = signer().sign(signed.as_bytes());
    format!("{signed}.{}", encode(signature.as_ref()))
}

fn ed_key(id: &str) -> Value {
    json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "x": encode(signer().public_key().as_ref())})
}

fn rsa_key(id: &str) -> Value {
    json!({"kty": "RSA", "kid": id, "n": RSA_N, "e": "AQAB"})
}

fn ec_key(id: &str) -> Value {
    json!({"kty": "EC", "crv": "P-256", "kid": id, "x": EC_X, "y": EC_Y})
}

/// An entry of the snapshot, with what differs from the usual one.
fn issuer(changes: Value) -> Issuer {
    let mut entry = json!({
        "issuer": "https://id", "audience": ["levada", "other"], "algorithms": ["RS256", "ES256", "EdDSA"],
        "subject": "sub", "models_claim": null,
        "keys": {"keys": [ed_key("ed"), rsa_key("rsa"), ec_key("ec")]},
    });
    for (name, value) in changes.as_object().unwrap() {
        entry[name] = value.clone();
    }
    let mut problems = Vec::new();
    let issuer = Issuer::read(Fields::open(entry, "auth.jwt[0]".to_owned(), &mut problems).unwrap());
    assert_eq!(problems, Vec::<String>::new());
    issuer
}

fn claims(changes: Value) -> String {
    let mut claims = json!({"iss": "https://id", "aud": "levada", "sub": "alice", "exp": NOW + 60.0});
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        }
    }
    claims.to_string()
}

const HEADER: &str = r#"{"alg":"EdDSA","typ":"JWT","kid":"ed"}"#;

fn judged(header: &str, changes: Value) -> Result<Key, Wrong> {
    verify(&[issuer(json!({}))], signed_as(header, &claims(changes)).as_bytes(), NOW)
}

#[test]
fn the_vectors_of_the_standards() {
    let ed = json!({"kty": "OKP", "crv": "Ed25519", "x": ED_X});
    let set = json!({"keys": [rsa_key("r"), ec_key("e"), ed]});
    let keys = jwks::read(&set).unwrap();
    let rows = [(RSA_SIGNED, RSA_SIGNATURE), (EC_SIGNED, EC_SIGNATURE), (ED_SIGNED, ED_SIGNATURE)];
    assert_eq!(keys.len(), rows.len());
    for (at, (signed, signature)) in rows.into_iter().enumerate() {
        let signature = base64url::decode(signature.as_bytes()).unwrap();
        for (other, key) in keys.iter().enumerate() {
            assert_eq!(key.verifies(signed.as_bytes(), &signature), at == other);
        }
        assert!(!keys[at].verifies(&signed.as_bytes()[1..], &signature));
        assert!(!keys[at].verifies(signed.as_bytes(), &signature[1..]));
    }
}

#[test]
fn only_public_keys_for_signatures_of_ours_are_used() {
    let rows = [
        json!({"kty": "oct", "k": "c2VjcmV0"}),
        json!({"kty": "EC", "crv": "P-384", "x": EC_X, "y": EC_Y}),
        json!({"kty": "EC", "crv": "P-256", "x": EC_X}),
        json!({"kty": "EC", "crv": "P-256", "x": "AAAA", "y": EC_Y}),
        json!({"kty": "OKP", "crv": "X25519", "x": ED_X}),
        json!({"kty": "RSA", "n": RSA_N}),
        json!({"kty": "RSA", "n": format!("{RSA_N}=="), "e": "AQAB"}),
        json!({"kty": "RSA", "n": RSA_N, "e": "AQAB", "alg": "PS256"}),
        json!({"kty": "RSA", "n": RSA_N, "e": "AQAB", "alg": "HS256"}),
        json!({"kty": "RSA", "n": RSA_N, "e": "AQAB", "use": "enc"}),
        json!({"kty": "RSA", "n": RSA_N, "e": "AQAB", "key_ops": ["encrypt"]}),
        json!({}),
        json!(7),
    ];
    for row in rows {
        assert_eq!(jwks::read(&json!({"keys": [row]})), Some(Vec::new()), "{row}");
    }
    let good =
        json!({"kty": "RSA", "n": RSA_N, "e": "AQAB", "alg": "RS256", "use": "sig", "key_ops": ["verify"]});
    assert_eq!(jwks::read(&json!({"keys": [good, {"kty": "oct"}]})).unwrap().len(), 1);
    assert_eq!(jwks::read(&json!({"keys": 7})), None);
    assert_eq!(jwks::read(&json!([])), None);
}

#[test]
fn a_token_in_order_is_a_key() {
    let key = Key { id: "jwt:alice".into(), expires: Some(NOW + 90.0), ..Key::default() };
    for header in [
        HEADER,
        r#"{"alg":"EdDSA","kid":"ed"}"#,
        r#"{"alg":"EdDSA"}"#,
        r#"{"alg":"EdDSA","typ":"at+jwt","kid":"ed","x5t":"abc"}"#,
        r#"{"alg":"EdDSA","typ":"application/JWT"}"#,
    ] {
        assert_eq!(judged(header, json!({})), Ok(key.clone()), "{header}");
    }
    for changes in [
        json!({"aud": ["x", "other"]}),
        json!({"nbf": NOW + 29.0}),
        json!({"nbf": NOW - 1000.0, "iat": NOW, "more": {"a": [1]}}),
    ] {
        assert_eq!(judged(HEADER, changes.clone()), Ok(key.clone()), "{changes}");
    }
    assert!(judged(HEADER, json!({"exp": NOW - 29.0})).is_ok());
}

#[test]
fn claims_that_are_not_in_order() {
    let rows = [
        json!({"iss": null}),
        json!({"iss": "https://id/"}),
        json!({"iss": 1}),
        json!({"iss": ["https://id"]}),
        json!({"aud": null}),
        json!({"aud": "levada2"}),
        json!({"aud": []}),
        json!({"aud": ["levada", 1]}),
        json!({"aud": {"levada": 1}}),
        json!({"exp": null}),
        json!({"exp": NOW - 30.0}),
        json!({"exp": "1900000000"}),
        json!({"exp": true}),
        json!({"nbf": NOW + 31.0}),
        json!({"nbf": "0"}),
        json!({"sub": null}),
        json!({"sub": ""}),
        json!({"sub": "\u{e9} \n"}),
        json!({"sub": 7}),
    ];
    for row in rows {
        assert_eq!(judged(HEADER, row.clone()), Err(Wrong::Refused), "{row}");
    }
}

#[test]
fn headers_that_are_not_in_order() {
    let x = encode(signer().public_key().as_ref());
    let rows = [
        r#"{"alg":"none","kid":"ed"}"#.to_owned(),
        r#"{"alg":"None"}"#.to_owned(),
        r#"{"alg":"eddsa","kid":"ed"}"#.to_owned(),
        r#"{"alg":["EdDSA"],"kid":"ed"}"#.to_owned(),
        r#"{"kid":"ed"}"#.to_owned(),
        r#"{"alg":"HS256","kid":"rsa"}"#.to_owned(),
        r#"{"alg":"RS384","kid":"rsa"}"#.to_owned(),
        r#"{"alg":"RS256","kid":"ed"}"#.to_owned(),
        r#"{"alg":"ES256","kid":"ed"}"#.to_owned(),
        r#"{"alg":"EdDSA","kid":"rsa"}"#.to_owned(),
        r#"{"alg":"EdDSA","kid":7}"#.to_owned(),
        r#"{"alg":"EdDSA","kid":"ed","typ":"dpop+jwt"}"#.to_owned(),
        r#"{"alg":"EdDSA","kid":"ed","typ":7}"#.to_owned(),
        r#"{"alg":"EdDSA","kid":"ed","crit":["exp"]}"#.to_owned(),
        r#"{"alg":"EdDSA","kid":"ed","crit":[]}"#.to_owned(),
        r#"{"alg":"EdDSA","kid":"ed","jku":"https://evil/keys"}"#.to_owned(),
        r#"{"alg":"EdDSA","kid":"ed","x5u":"https://evil/cert"}"#.to_owned(),
        format!(r#"{{"alg":"EdDSA","jwk":{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}}}"#),
        r#"{"alg":"none","alg":"EdDSA","kid":"ed"}"#.to_owned(),
        r#"{"alg":"EdDSA","kid":"ed","kid":"ed"}"#.to_owned(),
        "[]".to_owned(),
    ];
    for row in rows {
        assert_eq!(judged(&row, json!({})), Err(Wrong::Refused), "{row}");
    }
}

#[test]
fn a_public_key_is_no_secret() {
    let signed =
        format!("{}.{}", encode(br#"{"alg":"HS256","kid":"rsa"}"#), encode(claims(json!({})).as_bytes()));
    for secret in [RSA_N.as_bytes().to_vec(), base64url::decode(RSA_N.as_bytes()).unwrap()] {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), signed.as_bytes());
        let token = format!("{signed}.{}", encode(tag.as_ref()));
        assert_eq!(verify(&[issuer(json!({}))], token.as_bytes(), NOW), Err(Wrong::Refused));
    }
}

#[test]
fn what_was_changed_after_it_was_signed() {
    let token = signed_as(HEADER, &claims(json!({})));
    let parts: Vec<&str> = token.split('.').collect();
    let other = encode(claims(json!({"sub": "root"})).as_bytes());
    let none = encode(br#"{"alg":"none"}"#);
    for bad in [
        format!("{}.{other}.{}", parts[0], parts[2]),
        format!("{none}.{}.{}", parts[1], parts[2]),
        format!("{none}.{}.", parts[1]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}.{}=", parts[0], parts[1], parts[2]),
        format!("{}.{}", parts[0], parts[1]),
        format!("{token}.x"),
        format!(" {token}"),
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
    ] {
        assert_eq!(verify(&[issuer(json!({}))], bad.as_bytes(), NOW), Err(Wrong::Refused), "{bad}");
    }
    let twice = claims(json!({})).replacen('{', r#"{"sub":"root","#, 1);
    let token = signed_as(HEADER, &twice);
    assert_eq!(verify(&[issuer(json!({}))], token.as_bytes(), NOW), Err(Wrong::Refused));
}

#[test]
fn the_issuers_entry_says_which_algorithms_count() {
    let token = signed_as(HEADER, &claims(json!({})));
    let strict = issuer(json!({"algorithms": ["RS256", "ES256"]}));
    assert_eq!(verify(&[strict], token.as_bytes(), NOW), Err(Wrong::Refused));
    let other = issuer(json!({"issuer": "https://other", "algorithms": ["RS256"]}));
    assert!(verify(&[other, issuer(json!({}))], token.as_bytes(), NOW).is_ok());
    assert_eq!(verify(&[], token.as_bytes(), NOW), Err(Wrong::Refused));
}

#[test]
fn a_key_that_is_not_known_is_named_but_not_for_a_stale_token() {
    let unknown = |header: &str| judged(header, json!({}));
    assert_eq!(unknown(r#"{"alg":"EdDSA","kid":"new"}"#), Err(Wrong::UnknownKey("new".into())));
    let header = r#"{"alg":"EdDSA","kid":"new"}"#;
    assert_eq!(judged(header, json!({"exp": NOW - 31.0})), Err(Wrong::Refused));
    let token = signed_as(HEADER, &claims(json!({})));
    let empty = issuer(json!({"keys": null}));
    assert_eq!(verify(&[empty], token.as_bytes(), NOW), Err(Wrong::UnknownKey("ed".into())));
}

#[test]
fn without_an_id_there_must_be_no_choice() {
    let two = issuer(json!({"keys": {"keys": [ed_key("a"), ed_key("b")]}}));
    let token = signed_as(r#"{"alg":"EdDSA"}"#, &claims(json!({})));
    assert_eq!(verify(std::slice::from_ref(&two), token.as_bytes(), NOW), Err(Wrong::Refused));
    let named = signed_as(r#"{"alg":"EdDSA","kid":"b"}"#, &claims(json!({})));
    assert!(verify(&[two], named.as_bytes(), NOW).is_ok());
}

#[test]
fn the_caller_and_its_models() {
    let one = issuer(json!({"subject": "client", "models_claim": "models"}));
    let models = |value: Value| {
        let token = signed_as(HEADER, &claims(json!({"client": "a \u{e9}b", "models": value})));
        verify(std::slice::from_ref(&one), token.as_bytes(), NOW).map(|key| (key.id, key.models))
    };
    assert_eq!(models(json!(["m", "n"])), Ok(("jwt:ab".into(), Some(vec!["m".into(), "n".into()]))));
    assert_eq!(models(json!("m n")), Ok(("jwt:ab".into(), Some(vec!["m".into(), "n".into()]))));
    assert_eq!(models(json!(null)), Ok(("jwt:ab".into(), Some(Vec::new()))));
    assert_eq!(models(json!(7)), Err(Wrong::Refused));
    assert_eq!(models(json!([7])), Err(Wrong::Refused));
    let long = judged(HEADER, json!({"sub": "s".repeat(500)})).unwrap();
    assert_eq!(long.id.len(), 128);
}

#[test]
fn an_entry_with_problems() {
    let entry =
        json!({"issuer": "", "audience": [1], "algorithms": ["HS256"], "subject": 1, "keys": [], "x": 1});
    let mut problems = Vec::new();
    Issuer::read(Fields::open(entry, "auth.jwt[0]".to_owned(), &mut problems).unwrap());
    let words = [
        "algorithms: must be of RS256, ES256 and EdDSA",
        "keys: must be a JWK set or null",
        "issuer: must be a text that is not empty",
        "audience: must be an array of texts",
        "subject: must be the name of a claim",
        "x: is not known",
    ];
    assert_eq!(problems, words.map(|what| format!("auth.jwt[0].{what}")));
}

#[test]
fn the_look_and_the_name_of_a_token() {
    assert!(is_token(b"eyJ.a.b") && !is_token(b"eyJ.a") && !is_token(b"eyJ.a.b.c") && !is_token(b"sk-.a.b"));
    assert_eq!(fingerprint(b"")[..4], [0xe3, 0xb0, 0xc4, 0x42]);
}
