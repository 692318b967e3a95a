//! C's `pow`, in place of the one in libm.so.
//!
//! indicatif estimates speeds with it, which no command shows; but the linker then binds the whole of libm.so to the program, and
//! the kernel maps 324 KiB of it into every master and logger, which draw nothing. With this definition the library is left out.
#![allow(unsafe_code)]

/// `base` to the power of `exponent`.
// SAFETY: the name, the arguments and the result are those of C's `pow`, and so is what it computes.
#[unsafe(no_mangle)]
extern "C" fn pow(base: f64, exponent: f64) -> f64 {
    libm::pow(base, exponent)
}
