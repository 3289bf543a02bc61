//! What a server says of itself.

/// Figures by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    figures: Vec<(String, i64)>,
}

impl Stats {
    /// Adds a figure.
    pub fn add(&mut self, name: &str, value: impl TryInto<i64>) {
        self.figures.push((name.to_owned(), value.try_into().unwrap_or(i64::MAX)));
    }

    /// All of them.
    pub fn all(self) -> Vec<(String, i64)> {
        self.figures
    }
}
