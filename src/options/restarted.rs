//! What a restart says to the start that it becomes, in a variable of the environment.

use std::fmt;

/// What a restart has stopped, for the start that it becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restarted {
    /// The user, as it was typed, that root acts for; empty where it acts for none.
    pub user: String,
    /// The number of workers that a scale has set.
    pub scaled: Option<u32>,
    /// The title.
    pub title: String,
}

impl Restarted {
    /// Reads the value of the variable.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ':');
        let (user, scaled, title) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Restarted { user: user.to_owned(), scaled: scaled.parse().ok(), title: title.to_owned() })
    }
}

impl fmt::Display for Restarted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scaled = self.scaled.map(|workers| workers.to_string()).unwrap_or_default();
        // No user has a colon in its name; a title may.
        write!(out, "{}:{scaled}:{}", self.user, self.title)
    }
}
