//! Checks an array or object in the compact form of `JSON.stringify`, 64 bytes at a time, and finds its end.
//!
//! Without spaces JSON is nearly all said by which kinds of bytes may stand beside each other. Each kind is a word with a bit for
//! each byte of a block, and a rule of neighbours is a shift and an AND for all 64 of them. What a rule of neighbours cannot say
//! is done one by one: brackets (their kinds, and which commas stand in objects), exponents and the words `true`, `false` and `null`.
//!
//! [`end`] is sure when it finds an end, and gives no reason when it does not: a space or a fault, [`container`](super::container)
//! looks again.

use wide::u8x16;

use super::container::Open;
use super::scan;

/// So many bytes are looked at together: a bit for each of them in a word.
const BLOCK: usize = u64::BITS as usize;

/// Behind the compact array or object that begins with the bracket at `at`.
pub(super) fn end(json: &[u8], at: usize) -> Option<usize> {
    let (mut open, mut carry, mut least) = (Open::default(), Carry::default(), u8x16::splat(u8::MAX));
    let (blocks, rest) = json.get(at..)?.as_chunks::<BLOCK>();
    let mut last = [b' '; BLOCK];
    last.get_mut(..rest.len())?.copy_from_slice(rest);
    for (number, block) in blocks.iter().chain([&last]).enumerate() {
        let begin = at + number * BLOCK;
        if let Some(end) = check(json, begin, block, &mut open, &mut carry, &mut least)? {
            // Nowhere in it may a control character stand, neither in texts nor, as it is compact, between them.
            return least.to_array().iter().all(|byte| *byte >= b' ').then_some(end);
        }
    }
    None
}

/// What a block leaves to the next one: bits for its first byte.
#[derive(Default)]
struct Carry {
    /// All bits, when the next block begins within a text.
    within: u64,
    escaped: u64,
    after_opening: u64,
    before_value: u64,
    before_key: u64,
    after_value: u64,
    in_scalar: u64,
    key: u64,
    key_end: u64,
    after_minus: u64,
    whole: u64,
    after_dot: u64,
    fraction: u64,
    after_zero: u64,
}

/// The bits behind these.
fn behind(bits: u64, carry: &mut u64) -> u64 {
    let behind = bits << 1 | *carry;
    *carry = bits >> (BLOCK - 1);
    behind
}

/// The first bits behind those of the runs of ones in `runs` that begin at the bits `from`: the sum carries through them.
fn behind_runs(runs: u64, from: u64, carry: &mut u64) -> u64 {
    let (sum, overflows) = runs.overflowing_add(from | *carry);
    *carry = u64::from(overflows);
    sum & !runs
}

/// Checks a block; the end, when it is in it. `None`: it is not sure that this is compact JSON.
#[inline(always)]
fn check(
    json: &[u8],
    begin: usize,
    block: &[u8; BLOCK],
    open: &mut Open,
    carry: &mut Carry,
    least: &mut u8x16,
) -> Option<Option<usize>> {
    let marks = Marks::of(block, least);
    let escaped = match marks.has_backslash || carry.escaped != 0 {
        true => escaped(json, begin, block, marks.quotes, &mut carry.escaped)?,
        false => 0,
    };
    let quotes = marks.quotes & !escaped;
    if quotes == 0 && carry.within == u64::MAX {
        // A piece of a text. Its quote was in a block before, and what may follow that has been looked at.
        return Some(None);
    }
    // Each bit becomes the parity of the quotes up to it: within texts, the opening quote counted, the closing one not.
    let mut texts = quotes;
    for distance in [1, 2, 4, 8, 16, 32] {
        texts ^= texts << distance;
    }
    texts ^= carry.within;
    carry.within = 0_u64.wrapping_sub(texts >> (BLOCK - 1));

    let Brackets { opening, closing, braces, in_objects, up_to_end, end } =
        Brackets::of(block, marks.brackets & !texts, open)?;
    let outside = !texts & up_to_end;
    let (commas, colons) = (marks.commas & outside, marks.colons & outside);
    let (text_begins, text_ends) = (quotes & texts & up_to_end, quotes & outside);
    let scalars = outside & !(text_ends | opening | closing | commas | colons);

    let closes_empty = behind(opening, &mut carry.after_opening) & closing;
    let before_value = behind(opening | commas | colons, &mut carry.before_value);
    let before_key = behind(braces | commas & in_objects, &mut carry.before_key);
    let after_value = behind(text_ends | closing, &mut carry.after_value);
    let in_scalar = behind(scalars, &mut carry.in_scalar);
    let goes_on = commas | colons | closing;
    let key_ends = behind_runs(texts, text_begins & before_key, &mut carry.key);
    let mut wrong = before_value & !(text_begins | opening | scalars | closes_empty)
        | before_key & !(text_begins | closes_empty)
        | after_value & !goes_on
        | in_scalar & !(scalars | goes_on)
        // A colon stands behind every key and nowhere else.
        | behind(key_ends, &mut carry.key_end) ^ colons;
    if scalars | in_scalar != 0 {
        wrong |= check_scalars(json, begin, block, scalars, in_scalar, carry)?;
    }
    (wrong & up_to_end == 0).then_some(end.map(|place| begin + place))
}

/// The bits that are wrong about numbers; `None` when an exponent or a word is.
#[inline(always)]
fn check_scalars(
    json: &[u8],
    begin: usize,
    block: &[u8; BLOCK],
    scalars: u64,
    in_scalar: u64,
    carry: &mut Carry,
) -> Option<u64> {
    let starts = scalars & !in_scalar;
    let digits = mask(block, |bytes| {
        let from_zero = bytes - u8x16::splat(b'0');
        from_zero.min(u8x16::splat(9)).simd_eq(from_zero)
    }) & scalars;
    let minus = mask(block, |bytes| bytes.simd_eq(u8x16::splat(b'-'))) & starts;
    let after_minus = behind(minus, &mut carry.after_minus);
    let first = digits & (starts | after_minus);
    let whole_ends = behind_runs(digits, first, &mut carry.whole);
    let zeros = mask(block, |bytes| bytes.simd_eq(u8x16::splat(b'0'))) & first;
    let dots = mask(block, |bytes| bytes.simd_eq(u8x16::splat(b'.'))) & whole_ends & scalars;
    let after_dot = behind(dots, &mut carry.after_dot);
    let number_ends = behind_runs(digits, after_dot & digits, &mut carry.fraction) | whole_ends & !dots;
    let wrong = (after_minus | after_dot) & !digits | behind(zeros, &mut carry.after_zero) & digits;
    one_by_one(json, begin, number_ends & scalars, scan::exponent)?;
    one_by_one(json, begin, starts & !digits & !minus, scan::any_word)?;
    Some(wrong)
}

/// Checks what begins at each of these places of the block, and that a scalar may end where it ends.
#[inline(always)]
fn one_by_one(json: &[u8], begin: usize, mut places: u64, end: impl Fn(&[u8], usize) -> Option<usize>) -> Option<()> {
    while places != 0 {
        let end = end(json, begin + places.trailing_zeros() as usize)?;
        if !matches!(json.get(end), Some(b',' | b']' | b'}')) {
            return None;
        }
        places &= places - 1;
    }
    Some(())
}

/// The brackets of a block.
struct Brackets {
    opening: u64,
    closing: u64,
    /// Those of the opening ones that begin objects.
    braces: u64,
    /// The bytes of which the innermost bracket is an object's.
    in_objects: u64,
    /// All bits, or those up to the bracket that closes the outermost one.
    up_to_end: u64,
    /// Behind that bracket, counted from the block's begin.
    end: Option<usize>,
}

impl Brackets {
    /// Opens and closes them; `None` when one closes what is of another kind.
    #[inline(always)]
    fn of(block: &[u8; BLOCK], mut brackets: u64, open: &mut Open) -> Option<Brackets> {
        let in_objects = 0_u64.wrapping_sub(u64::from(open.is_object()));
        let mut found = Brackets { opening: 0, closing: 0, braces: 0, in_objects, up_to_end: u64::MAX, end: None };
        while brackets != 0 {
            let place = brackets.trailing_zeros() as usize;
            let bit = brackets & brackets.wrapping_neg();
            brackets ^= bit;
            let byte = block[place % BLOCK];
            let (was_object, is_brace) = (open.is_object(), byte & CURLY != 0);
            if byte & OPENING != 0 {
                open.push(is_brace);
                found.opening |= bit;
                found.braces |= if is_brace { bit } else { 0 };
            } else if was_object == is_brace {
                open.pop();
                found.closing |= bit;
            } else {
                return None;
            }
            if open.is_empty() {
                (found.up_to_end, found.end) = (bit | (bit - 1), Some(place + 1));
                break;
            }
            if was_object != open.is_object() {
                found.in_objects ^= !(bit | (bit - 1));
            }
        }
        Some(found)
    }
}

/// The escaped bytes; `None` when one of them may not be.
#[cold]
fn escaped(json: &[u8], begin: usize, block: &[u8; BLOCK], quotes: u64, carry: &mut u64) -> Option<u64> {
    let backslashes = mask(block, |bytes| bytes.simd_eq(u8x16::splat(b'\\')));
    let mut escaped = std::mem::take(carry);
    let mut left = backslashes & !escaped;
    while left != 0 {
        let backslash = left & left.wrapping_neg();
        let next = backslash << 1;
        *carry = backslash >> (BLOCK - 1);
        escaped |= next;
        left &= !(backslash | next);
    }
    let mut others = escaped & !(quotes | backslashes);
    while others != 0 {
        scan::escape(json, begin + others.trailing_zeros() as usize)?;
        others &= others - 1;
    }
    Some(escaped)
}

/// In ASCII `{` and `}` are `[` and `]` with this bit.
const CURLY: u8 = 0x20;
/// And `[` and `{` have this one, `]` and `}` do not.
const OPENING: u8 = 0x02;

/// Where in a block the bytes are that matter everywhere, the first byte in the lowest bit.
struct Marks {
    quotes: u64,
    has_backslash: bool,
    brackets: u64,
    commas: u64,
    colons: u64,
}

impl Marks {
    /// Those of this block; its least bytes go into `least`.
    #[inline(always)]
    fn of(block: &[u8; BLOCK], least: &mut u8x16) -> Marks {
        let mut marks = Marks { quotes: 0, has_backslash: false, brackets: 0, commas: 0, colons: 0 };
        let mut backslash = u8x16::splat(0);
        for (number, part) in block.as_chunks().0.iter().enumerate() {
            let bytes = u8x16::from(*part);
            let curly = bytes | u8x16::splat(CURLY);
            let is = |bytes: u8x16, byte| bytes.simd_eq(u8x16::splat(byte));
            let bits = |bytes: u8x16| u64::from(bytes.to_bitmask()) << (number * 16);
            *least = least.min(bytes);
            backslash |= is(bytes, b'\\');
            marks.quotes |= bits(is(bytes, b'"'));
            marks.brackets |= bits(is(curly, b'{') | is(curly, b'}'));
            marks.commas |= bits(is(bytes, b','));
            marks.colons |= bits(is(bytes, b':'));
        }
        marks.has_backslash = backslash.to_bitmask() != 0;
        marks
    }
}

/// A bit for each byte of the block of which `is` has all bits set.
#[inline(always)]
fn mask(block: &[u8; BLOCK], is: impl Fn(u8x16) -> u8x16) -> u64 {
    let parts = block.as_chunks().0.iter().enumerate();
    parts.fold(0, |mask, (number, part)| mask | u64::from(is(u8x16::from(*part)).to_bitmask()) << (number * 16))
}
