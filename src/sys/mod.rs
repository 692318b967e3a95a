//! The only `unsafe` and the only raw libc: processes, signals, descriptors, sockets, /proc. Imports nothing of ours.
