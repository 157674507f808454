//! Closed sets of label values.

/// A closed set of label values, usable as an index into an array of counters.
pub trait Label: Copy + 'static {
    /// Every value, in the order of their indices.
    const ALL: &'static [Self];

    /// The value as `/metrics` shows it.
    fn label(self) -> &'static str;

    /// The index of this value in [`Label::ALL`].
    fn index(self) -> usize;
}

/// Declares an enum whose variants are label values.
macro_rules! labels {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$doc:meta])* $variant:ident => $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// The number of values.
            pub const COUNT: usize = [$(Self::$variant),+].len();

            /// The same as [`Label::label`](crate::model::Label::label), usable in constants.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl $crate::model::Label for $name {
            const ALL: &'static [Self] = &[$(Self::$variant),+];

            fn label(self) -> &'static str {
                self.as_str()
            }

            fn index(self) -> usize {
                self as usize
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad($crate::model::Label::label(*self))
            }
        }
    };
}

pub(crate) use labels;
