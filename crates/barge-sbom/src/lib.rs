//! What a Java program is made of, as documents that others read: CycloneDX and SPDX. And where its code came from: the commit, and
//! whether anything was changed since.
