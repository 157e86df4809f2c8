//! Where a user's files are, unless a command line says so itself.

use std::path::PathBuf;
use std::sync::OnceLock;

use barge_image::Cache;

/// The cache of a command that leaves nothing behind.
static OWN_CACHE: OnceLock<PathBuf> = OnceLock::new();

/// The login: `$BARGE_CONFIG`, else `$XDG_CONFIG_HOME/barge`, else `~/.config/barge`.
pub(crate) fn config() -> Option<PathBuf> {
    place("BARGE_CONFIG", "XDG_CONFIG_HOME", ".config", "barge")
}

/// A platform: `$BARGE_DATA`, else `$XDG_DATA_HOME/barge`, else `~/.local/share/barge`.
pub(crate) fn data() -> Option<PathBuf> {
    place("BARGE_DATA", "XDG_DATA_HOME", ".local/share", "barge")
}

/// A gateway that runs on its own: `$BARGE_GATEWAY_DATA`, else `$XDG_DATA_HOME/barge-gateway`, else `~/.local/share/barge-gateway`.
pub(crate) fn gateway_data() -> Option<PathBuf> {
    place("BARGE_GATEWAY_DATA", "XDG_DATA_HOME", ".local/share", "barge-gateway")
}

/// What builds keep for the next ones: `$BARGE_CACHE`, else `barge` in `$XDG_CACHE_HOME` or in `~/.cache`.
pub(crate) fn cache() -> Option<PathBuf> {
    OWN_CACHE.get().cloned().or_else(|| Cache::place(|name| std::env::var_os(name)))
}

/// Has all builds of this process keep what they keep in `directory`. The first call counts.
pub(crate) fn keep_cache_in(directory: PathBuf) {
    let _ = OWN_CACHE.set(directory);
}

fn place(own: &str, base: &str, below_home: &str, name: &str) -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable(own)
        .or_else(|| variable(base).map(|base| base.join(name)))
        .or_else(|| variable("HOME").map(|home| home.join(below_home).join(name)))
}
