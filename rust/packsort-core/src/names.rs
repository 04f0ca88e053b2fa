//! Names of options, which are those of Python and of the command line.

use std::fmt;

/// A name that is none of an option's values.
///
/// # Examples
/// ```
/// use packsort_core::Strategy;
///
/// let error = "fdd".parse::<Strategy>().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "strategy must be one of 'ffd', 'bfd', 'hybrid', 'padding', 'random', 'in_order', 'optimal', 'given', got 'fdd'"
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownName {
    /// Name of the option.
    pub option: &'static str,
    /// The name that was given.
    pub found: String,
    /// The names there are.
    pub expected: &'static [&'static str],
}

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.expected.iter().map(|name| format!("'{name}'")).collect();
        write!(f, "{} must be one of {}, got '{}'", self.option, names.join(", "), self.found)
    }
}

impl std::error::Error for UnknownName {}

/// Give an enum of options its names: `as_str`, `Display`, `FromStr` and the list `NAMES`.
macro_rules! named {
    ($type:ident, $option:literal, $($variant:ident => $name:literal),+ $(,)?) => {
        impl $type {
            /// The names of all values.
            pub const NAMES: &'static [&'static str] = &[$($name),+];

            /// The name of this value.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name),+
                }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::UnknownName;

            fn from_str(name: &str) -> Result<Self, Self::Err> {
                match name {
                    $($name => Ok(Self::$variant),)+
                    _ => Err($crate::UnknownName { option: $option, found: name.into(), expected: Self::NAMES }),
                }
            }
        }
    };
}
pub(crate) use named;
