//! The per-user directory: the title's lock, held for the master's life, and the record of who holds it.
//!
//! The place depends on the uid alone (`EGGCTL_STATE_DIR` overrides it); 0700, owner and mode checked by fstat, no
//! symlink followed. Names in it are hashes of titles:
//!
//! * `<hash>.lock` — never deleted; locked while a parent or a master of that title lives;
//! * `<hash>.json` — the [`Record`]; believed only while the lock is held and pid, start and boot fit;
//! * `<hash>.again` — [`Again`]: how a restart starts the application again, until it runs;
//! * `<hash>.sock` — the master's control socket;
//! * `<hash>.logs` — [`Logs`]: where the last start logs to; stays when the application has gone;
//! * `preload-<hash>.cjs` — the member preload, named after its content.

mod again;
mod directory;
mod lasting;
mod logs;
mod names;
mod place;
mod record;
mod socket;

pub use again::Again;
pub use directory::{Changes, Directory, Holder, LockOutcome, TitleLock};
pub use lasting::{FileId, Watch};
pub use logs::{LogFile, Logs, Stream};
pub use names::{COOKIE, is_cookie_of, new_cookie};
pub use place::VARIABLE as STATE_DIR;
pub use record::{Command, Record, RecordPhase};
