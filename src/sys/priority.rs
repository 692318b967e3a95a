//! Priority: work that must not be felt by anybody else.
#![allow(unsafe_code)]

/// Gives the calling thread, and only it, the lowest priority: the idle class of the CPU and of the disk.
pub fn lowest() {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    const IOPRIO_IDLE: libc::c_int = 3 << 13;
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: both calls take numbers and one live struct; 0 is the calling thread. A refusal leaves the priority as it is.
    unsafe {
        libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameters);
        libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_IDLE);
    }
}
