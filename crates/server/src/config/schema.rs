//! What the table of options is made of: an option, a section, and the shapes that most options have.

use std::borrow::Cow;

use super::Config;
use super::tree::Value;

/// One option of a `T`.
pub(super) struct Setting<T> {
    pub(super) key: &'static str,
    /// When a value that has changed takes effect.
    pub(super) reload: Reload,
    /// What it does, for the printed configuration.
    pub(super) about: fn() -> Cow<'static, str>,
    /// Takes a value over, or says what is wrong with it.
    pub(super) read: fn(&mut T, &Value) -> Result<(), String>,
    /// The value in TOML; nothing when none is set.
    pub(super) write: fn(&T) -> Option<String>,
    /// Has the first one have the value of the second one.
    pub(super) copy: fn(&mut T, &T),
}

/// When the value of an option takes effect that has changed in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reload {
    /// When the running server is told to read its configuration again.
    Live,
    /// When the server starts.
    Restart,
}

impl Reload {
    /// Its name, as printed with the option.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Restart => "restart",
        }
    }
}

/// A section of the file.
pub(super) struct Section {
    /// The name in brackets; empty for what stands above all sections.
    pub(super) name: &'static str,
    pub(super) settings: &'static [Setting<Config>],
}

/// `setting!(key, Live or Restart, place in the struct, what it does[, bounds])`
macro_rules! setting {
    ($key:literal, $reload:ident, $($field:ident).+, $about:expr $(, $check:expr)?) => {
        Setting {
            key: $key,
            reload: $crate::config::schema::Reload::$reload,
            about: || Cow::from($about),
            read: |target, value| {
                let value = read(value)?;
                $($check(&value)?;)?
                target.$($field).+ = value;
                Ok(())
            },
            write: |target| target.$($field).+.write(),
            copy: |target, source| target.$($field).+.clone_from(&source.$($field).+),
        }
    };
    ($key:literal, $($rest:tt)*) => {
        compile_error!(concat!("say after ", $key, " whether a reload takes it over: Live, or Restart"))
    };
}

/// `listing!(key, Live or Restart, place in the struct, what it does, most entries, how an entry is written)`
macro_rules! listing {
    ($key:literal, $reload:ident, $($field:ident).+, $about:expr, $max:expr, $normal:expr) => {
        Setting {
            key: $key,
            reload: $crate::config::schema::Reload::$reload,
            about: || Cow::from($about),
            read: |target, value| {
                let written: Vec<String> = read(value)?;
                within(&written.len(), &0, &$max)?;
                target.$($field).+ = written.iter().map(|entry| $normal(entry)).collect::<Result<_, String>>()?;
                Ok(())
            },
            write: |target| target.$($field).+.write(),
            copy: |target, source| target.$($field).+.clone_from(&source.$($field).+),
        }
    };
}

/// `beat!(key, Live or Restart, place in the struct, what it does)`: a time of the heartbeat, which can be off.
macro_rules! beat {
    ($key:literal, $reload:ident, $($field:ident).+, $about:literal) => {
        Setting {
            key: $key,
            reload: $crate::config::schema::Reload::$reload,
            about: || Cow::from($about),
            read: |target, value| {
                let time = duration_or_off(value)?;
                if !time.is_zero() {
                    between(time, HEARTBEAT_MIN, DELAY_MAX)?;
                }
                target.$($field).+ = time;
                Ok(())
            },
            write: |target| match target.$($field).+ {
                Duration::ZERO => Some("\"-1\"".to_owned()),
                time => time.write(),
            },
            copy: |target, source| target.$($field).+ = source.$($field).+,
        }
    };
}

/// `sign!(key, place in the struct, the usual one, what it does)`: a sign in names, which rooms that are there go by.
macro_rules! sign {
    ($key:literal, $($field:ident).+, $usual:literal, $about:literal) => {
        Setting {
            key: $key,
            reload: $crate::config::schema::Reload::Restart,
            about: || Cow::from($about),
            read: |target, value| {
                target.$($field).+ = $crate::config::channel_syntax::sign(read(value)?, $usual)?;
                Ok(())
            },
            write: |target| target.$($field).+.write(),
            copy: |target, source| target.$($field).+.clone_from(&source.$($field).+),
        }
    };
}

pub(super) use {beat, listing, setting, sign};
