//! How much is logged, as it may be written.

use tracing_subscriber::EnvFilter;

const LEVELS: &[&str] = &["trace", "debug", "info", "warn", "error", "off"];

/// The level that is meant; Centrifugo has two names of its own.
pub(super) fn level(written: &str) -> Result<String, String> {
    let level = match written.to_ascii_lowercase().as_str() {
        "none" => "off",
        "fatal" => "error",
        _ => written,
    };
    check_level(level).map(|()| level.to_owned())
}

/// Whether `directives` can be a level: one of the levels, or a comma-separated list of a level and `module=level`.
///
/// A bare word that is no level would silently select a module of that name, which is what a misspelt level looks like.
pub(crate) fn check_level(directives: &str) -> Result<(), String> {
    let expected = "expected trace, debug, info, warn, error or off, or module=level, separated by commas";
    for directive in directives.split(',') {
        let level = directive.rsplit_once('=').map_or(directive, |(_, level)| level).trim();
        if !LEVELS.contains(&level.to_ascii_lowercase().as_str()) {
            return Err(format!("{expected}; found `{directive}`"));
        }
    }
    EnvFilter::builder().parse(directives).map(|_| ()).map_err(|_| format!("{expected}; found `{directives}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_of_centrifugo_are_understood() {
        assert_eq!(
            [level("none"), level("fatal"), level("debug")],
            ["off", "error", "debug"].map(|it| Ok(it.to_owned()))
        );
    }

    #[test]
    fn levels_are_told_from_typing_errors() {
        for good in ["info", "WARN", "info,roomcast_server=debug", "off"] {
            assert_eq!(check_level(good), Ok(()), "{good}");
        }
        for bad in ["inof", "", "info,hyper", "roomcast=loud"] {
            assert!(check_level(bad).is_err(), "{bad}");
        }
    }
}
