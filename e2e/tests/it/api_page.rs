//! `docs/api.md` is run, not only read: its commands release greeter on a real platform.
