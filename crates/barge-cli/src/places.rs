//! Where a user's files are, unless a command line says so itself.

use std::path::PathBuf;

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

fn place(own: &str, base: &str, below_home: &str, name: &str) -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable(own)
        .or_else(|| variable(base).map(|base| base.join(name)))
        .or_else(|| variable("HOME").map(|home| home.join(below_home).join(name)))
}
