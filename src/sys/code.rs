//! The program's own code, as far as the kernel counts it as this process's resident memory.
//!
//! A start runs through most of the code, and each first step into it makes the kernel map sixteen pages. A master that is at
//! rest needs a tenth of them: the others make `top` show twice what it has. They are pages of the file and stay in the
//! page cache; whatever is run again is mapped again, without a read.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::fs;
use std::ptr::NonNull;

use nix::sys::mman::{MmapAdvise, madvise};

/// Where the code of this program is mapped.
#[derive(Clone, Copy, Debug)]
pub struct Code {
    start: NonNull<c_void>,
    length: usize,
}

impl Code {
    /// Looks for it in /proc; `None` where /proc does not say.
    #[must_use]
    pub fn of_self() -> Option<Self> {
        let own = Self::of_self as *const () as usize;
        fs::read_to_string("/proc/self/maps").ok()?.lines().find_map(|line| Self::parse(line, own))
    }

    /// The mapping of this line, if it holds this address, and is code that cannot be written (proc_pid_maps(5)).
    fn parse(line: &str, address: usize) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let start = usize::from_str_radix(start, 16).ok()?;
        let end = usize::from_str_radix(end, 16).ok()?;
        let is_code = fields.next()? == "r-xp";
        let length = end.checked_sub(start)?;
        let start = NonNull::new(start as *mut c_void)?;
        (is_code && (start.as_ptr() as usize..end).contains(&address)).then_some(Code { start, length })
    }

    /// Unmaps the pages: what is run again is found in the page cache.
    pub fn give_back(self) {
        // A kernel that refuses leaves everything as it was.
        // SAFETY: the range is a private mapping of the program's file that has never been writable, so its pages are the
        // file's, and the kernel brings them back with the same bytes at the next access, the next instruction included.
        let _ = unsafe { madvise(self.start, self.length, MmapAdvise::MADV_DONTNEED) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mapping_of_code_is_found_by_an_address_in_it() {
        let line = "55d0a0000000-55d0a0300000 r-xp 0010d000 fe:00 1234   /usr/bin/eggctl";
        let code = Code::parse(line, 0x55d0_a020_0000).unwrap();
        assert_eq!((code.start.as_ptr() as usize, code.length), (0x55d0_a000_0000, 0x30_0000));
        assert!(Code::parse(line, 0x55d0_a030_0000).is_none());
        assert!(Code::parse(&line.replace("r-xp", "rwxp"), 0x55d0_a020_0000).is_none(), "its pages may be its own");
        assert!(Code::parse("", 0).is_none() && Code::parse("x-y r-xp", 0).is_none());
    }

    #[test]
    fn code_that_was_given_back_runs_on_and_counts_for_less() {
        let resident = || {
            let statm = fs::read_to_string("/proc/self/statm").unwrap();
            statm.split(' ').nth(2).unwrap().parse::<u64>().unwrap()
        };
        let code = Code::of_self().unwrap();
        // Touched page by page, it is all there.
        let bytes = code.start.as_ptr().cast::<u8>();
        // SAFETY: all of the range is mapped and can be read.
        let sum: u64 =
            (0..code.length).step_by(4096).map(|at| u64::from(unsafe { bytes.add(at).read_volatile() })).sum();
        let before = resident();
        code.give_back();
        let after = resident();
        assert!(sum > 0 && after < before, "{before} pages, then {after}");
    }
}
