//! Where an array or object ends: its brackets counted, 64 bytes at a time, those in strings passed over.
//!
//! What it holds is not looked at: that it is JSON is the business of the member that wrote it.

use wide::u8x16;

/// So many bytes are looked at together: a bit for each of them in a word.
const BLOCK: usize = u64::BITS as usize;

/// Behind the array or object that begins with the bracket at `at`; `None` when it does not end.
pub(super) fn end(json: &[u8], at: usize) -> Option<usize> {
    let (mut strings, mut depth) = (Strings::default(), 0);
    let (blocks, rest) = json.get(at..)?.as_chunks::<BLOCK>();
    let mut last = [b' '; BLOCK];
    last.get_mut(..rest.len())?.copy_from_slice(rest);
    for (number, block) in blocks.iter().chain([&last]).enumerate() {
        let marks = Marks::of(block);
        let in_strings = strings.mask(&marks);
        let (opening, closing) = (marks.opening & !in_strings, marks.closing & !in_strings);
        if let Some(bit) = closed_at(&mut depth, opening, closing) {
            return Some(at + number * BLOCK + bit + 1);
        }
    }
    None
}

/// Which bit closes the outermost bracket; else how deep it is behind the block.
fn closed_at(depth: &mut u32, opening: u64, closing: u64) -> Option<usize> {
    // The usual case: not even all of these close it.
    if closing.count_ones() < *depth {
        *depth += opening.count_ones();
        *depth -= closing.count_ones();
        return None;
    }
    let mut brackets = opening | closing;
    while brackets != 0 {
        let bit = brackets.trailing_zeros();
        brackets &= brackets - 1;
        if opening & (1 << bit) != 0 {
            *depth += 1;
        } else {
            *depth = depth.checked_sub(1)?;
            if *depth == 0 {
                return Some(bit as usize);
            }
        }
    }
    None
}

/// What is within strings, from block to block.
#[derive(Default)]
struct Strings {
    /// All bits, when the next block begins within a string.
    within: u64,
    /// Bit 0, when the next block begins with an escaped character.
    escaped: u64,
}

impl Strings {
    /// A bit for each byte within a string, its opening quote counted, its closing one not.
    fn mask(&mut self, marks: &Marks) -> u64 {
        let escaped = self.escaped(marks.backslashes);
        // Each bit becomes the parity of the quotes up to it.
        let mut mask = marks.quotes & !escaped;
        for distance in [1, 2, 4, 8, 16, 32] {
            mask ^= mask << distance;
        }
        mask ^= self.within;
        self.within = 0_u64.wrapping_sub(mask >> (BLOCK - 1));
        mask
    }

    /// The bits behind backslashes that are not escaped themselves.
    fn escaped(&mut self, backslashes: u64) -> u64 {
        let mut escaped = std::mem::take(&mut self.escaped);
        let mut left = backslashes & !escaped;
        while left != 0 {
            let backslash = left & left.wrapping_neg();
            let next = backslash << 1;
            self.escaped = backslash >> (BLOCK - 1);
            escaped |= next;
            left &= !(backslash | next);
        }
        escaped
    }
}

/// Where in a block the bytes are that matter, the first byte in the lowest bit.
#[derive(Debug, PartialEq, Eq)]
struct Marks {
    quotes: u64,
    backslashes: u64,
    opening: u64,
    closing: u64,
}

/// In ASCII `{` and `}` are `[` and `]` with this bit.
const CURLY: u8 = 0x20;

impl Marks {
    fn of(block: &[u8; BLOCK]) -> Marks {
        let mut marks = Marks { quotes: 0, backslashes: 0, opening: 0, closing: 0 };
        for (number, part) in block.as_chunks().0.iter().enumerate() {
            let bytes = u8x16::from(*part);
            let curly = bytes | u8x16::splat(CURLY);
            let bits = |bytes: u8x16, byte| u64::from(bytes.simd_eq(u8x16::splat(byte)).to_bitmask()) << (number * 16);
            marks.quotes |= bits(bytes, b'"');
            marks.backslashes |= bits(bytes, b'\\');
            marks.opening |= bits(curly, b'{');
            marks.closing |= bits(curly, b'}');
        }
        marks
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::*;

    fn marks(block: &[u8; BLOCK]) -> Marks {
        let bits = |is: &dyn Fn(u8) -> bool| block.iter().rev().fold(0, |bits, byte| bits << 1 | u64::from(is(*byte)));
        Marks {
            quotes: bits(&|byte| byte == b'"'),
            backslashes: bits(&|byte| byte == b'\\'),
            opening: bits(&|byte| matches!(byte, b'[' | b'{')),
            closing: bits(&|byte| matches!(byte, b']' | b'}')),
        }
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let text = "[a-z\"\\\\{}\\[\\]\n]{0,30}";
        let leaf =
            prop_oneof![Just(serde_json::Value::Null), any::<i32>().prop_map(Into::into), text.prop_map(Into::into)];
        leaf.prop_recursive(6, 200, 10, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..10).prop_map(Into::into),
                proptest::collection::btree_map(text, inner, 0..10)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    #[test]
    fn brackets_quotes_and_escapes_are_seen_at_every_place_of_a_block() {
        for length in 0..200 {
            let filler = "x".repeat(length);
            for (inside, ends) in
                [(r"", true), (r#"\""#, true), (r"\\", true), (r#"\\\""#, true), (r#"}]\\"#, true), (r"\", false)]
            {
                let json = format!(r#"{{"{filler}{inside}":[]}}"#);
                assert_eq!(end(json.as_bytes(), 0), ends.then_some(json.len()), "{json}");
                let cut = json.get(..json.len() - 1).unwrap();
                assert_eq!(end(cut.as_bytes(), 0), None, "{cut}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 5_000, ..ProptestConfig::default() })]

        #[test]
        fn it_ends_where_serde_sees_it_end(json in json(), before in "[ -~]{0,70}", behind in "[ -~]{0,70}") {
            let text = json.to_string();
            prop_assume!(text.starts_with(['[', '{']));
            prop_assert!(serde_json::from_str::<&RawValue>(&text).is_ok());
            let whole = format!("{before}{text}{behind}");
            prop_assert_eq!(end(whole.as_bytes(), before.len()), Some(before.len() + text.len()));
        }

        #[test]
        fn many_bytes_at_a_time_are_seen_as_one_by_one(block in any::<[[u8; 32]; 2]>(), ascii in any::<bool>()) {
            let mut block: [u8; BLOCK] = block.concat().try_into().unwrap();
            if ascii {
                block.iter_mut().for_each(|byte| *byte = b"\"\\{}[]:a"[usize::from(*byte % 8)]);
            }
            prop_assert_eq!(Marks::of(&block), marks(&block));
        }
    }
}
