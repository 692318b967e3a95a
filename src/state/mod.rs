//! The per-user directory: the title's lock, held for the master's life, and the record of who holds it.
//!
//! The place depends on the uid alone (`EGGCTL_STATE_DIR` overrides it); 0700, owner and mode checked by fstat, no
//! symlink followed. Names in it are hashes of titles.
