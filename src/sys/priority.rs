//! Priority: work that must not be felt by anybody else, and a process that does not push others aside.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering};

/// Was this process of the ordinary class before [`batch`]?
static WAS_ORDINARY: AtomicBool = AtomicBool::new(false);

/// Lets this process come when whoever runs has come to rest or had its share, instead of pushing it aside at each wake-up:
/// the scheduler's batch class (`sched(7)`). Where somebody has chosen another class already it stays.
pub fn batch() {
    // SAFETY: takes a number; 0 is the caller.
    if unsafe { libc::sched_getscheduler(0) } == libc::SCHED_OTHER {
        WAS_ORDINARY.store(set_class(libc::SCHED_BATCH), Ordering::Relaxed);
    }
}

/// Undoes [`batch`] in a child of this process, which inherits the class. (`SCHED_RESET_ON_FORK` resets real-time classes
/// only.) Async-signal-safe: for the time between fork and exec.
pub fn undo_batch() {
    if WAS_ORDINARY.load(Ordering::Relaxed) {
        set_class(libc::SCHED_OTHER);
    }
}

/// Where the kernel refuses, the class stays as it is, and the answer is false.
fn set_class(class: libc::c_int) -> bool {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: takes numbers and one live struct; 0 is the calling thread.
    unsafe { libc::sched_setscheduler(0, class, &raw const parameters) == 0 }
}

/// Gives the calling thread, and only it, the lowest priority: the idle class of the CPU and of the disk.
pub fn lowest() {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    const IOPRIO_IDLE: libc::c_int = 3 << 13;
    set_class(libc::SCHED_IDLE);
    // SAFETY: takes numbers; 0 is the calling thread. A refusal leaves the priority as it is.
    unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_IDLE) };
}
