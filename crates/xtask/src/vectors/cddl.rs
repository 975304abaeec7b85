//! The specification's CDDL, as a judge of bytes.

use std::path::Path;

use cddl_cat::cbor::validate_cbor_bytes;
use cddl_cat::flatten::flatten_from_str;

/// `spec/hikyaku.cddl`.
pub(crate) struct Cddl {
    text: String,
}

impl Cddl {
    pub(crate) fn load(path: &Path) -> Result<Cddl, String> {
        let text = crate::codes::read(path)?;
        flatten_from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Cddl { text })
    }

    /// Whether `bytes` are a value of the type `name`.
    pub(crate) fn judge(&self, name: &str, bytes: &[u8]) -> Result<(), String> {
        validate_cbor_bytes(name, &self.text, bytes)
            .map_err(|error| format!("{} is no `{name}` of hikyaku.cddl: {error}", super::hex(bytes)))
    }
}
