//! Names that stand for titles and contents: hashes, and the instance cookie made with one.

use std::fs::File;
use std::io::Read;

use crate::error::Failure;
use crate::options::Title;

/// The variable that carries the instance cookie in the environment of every process of a tree.
pub const COOKIE: &str = crate::options::COOKIE_VARIABLE;

/// FNV-1a with 128 bits, in hex: the same in every version. Two titles of one user meet by accident in one of 10^35
/// cases (the record holds the title itself against that); nobody else can choose titles in this directory.
#[must_use]
pub(super) fn hash(content: &[u8]) -> String {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let hash = content.iter().fold(BASIS, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME));
    format!("{hash:032x}")
}

/// A new instance cookie: `<hash of the title>.<16 random bytes>`, in hex.
///
/// # Errors
/// When the system gives no random bytes.
pub fn new_cookie(title: &Title) -> Result<String, Failure> {
    let mut random = [0; 16];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut random))
        .map_err(|error| Failure::no_random_bytes(&error))?;
    Ok(format!("{}.{:032x}", hash(title.as_str().as_bytes()), u128::from_ne_bytes(random)))
}

/// Is this a cookie of an instance of this title?
#[must_use]
pub fn is_cookie_of(cookie: &str, title: &Title) -> bool {
    let random = cookie.strip_prefix(&hash(title.as_str().as_bytes())).and_then(|rest| rest.strip_prefix('.'));
    random.is_some_and(|random| random.len() == 32 && random.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv_1a_128() {
        assert_eq!(hash(b""), "6c62272e07bb014262b821756295c58d");
        assert_eq!(hash(b"foobar"), "343e1662793c64bf6f0d3597ba446f18");
    }

    #[test]
    fn every_cookie_is_new_and_names_its_title() {
        let title = Title::try_from("svc".to_owned()).unwrap();
        let (one, other) = (new_cookie(&title).unwrap(), new_cookie(&title).unwrap());
        assert_ne!(one, other);
        assert_eq!(one.len(), 65);
        assert_eq!(one.split('.').next(), Some(hash(b"svc").as_str()));
        assert!(is_cookie_of(&one, &title));
        let other = Title::try_from("svc2".to_owned()).unwrap();
        assert!(!is_cookie_of(&one, &other));
        for rubbish in ["", ".", "svc", &one[1..], &one[..64], &format!("{one}0"), &one.replace('.', "-")] {
            assert!(!is_cookie_of(rubbish, &title), "{rubbish}");
        }
    }
}
