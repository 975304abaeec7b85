//! One line of JSON with numbers in it.

/// An object in the making.
#[derive(Default)]
pub struct Object(String);

impl Object {
    /// Adds a number; what is not finite is left out.
    pub fn number(mut self, key: &str, value: f64) -> Self {
        if value.is_finite() {
            let comma = if self.0.is_empty() { "" } else { "," };
            self.0.push_str(&format!("{comma}\"{key}\":{value:.3}"));
        }
        self
    }

    /// Prints it.
    pub fn print(self) {
        println!("{{{}}}", self.0);
    }
}
