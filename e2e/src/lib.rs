//! Scenarios against the real binary, real ports, real databases and real applications. Everything is in `tests/it`.
