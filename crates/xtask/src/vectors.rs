//! `cargo xtask vectors`: the test vectors of the specification, made from sample values.
//!
//! Every file in `spec/vectors` is made here: bytes in hexadecimal beside what they mean. Without arguments the files
//! are written; with `--check` they are compared with what is there. Either way each message must satisfy its type in
//! `spec/hikyaku.cddl`, and whatever is meant to be malformed must be refused.

mod cddl;
mod describe;
mod raw;
mod samples;
#[cfg(test)]
mod tests;

use std::fmt::Write;

use serde_json::{Map, Value};

use crate::codes::{root, settle};

/// One test vector: names and values of a JSON object.
pub(crate) type Vector = Map<String, Value>;

/// One file of vectors.
pub(crate) struct Table {
    /// The file's name without `.json`.
    pub(crate) name: &'static str,
    /// What the file holds and how to read it, for people.
    pub(crate) about: &'static str,
    pub(crate) vectors: Vec<Vector>,
}

/// Runs the task.
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    let check = match args {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => return Err("usage: cargo xtask vectors [--check]".into()),
    };
    let cddl = cddl::Cddl::load(&root().join("spec/hikyaku.cddl"))?;
    let mut tables = vec![raw::varints()?, raw::frames()?, raw::datagrams(), raw::malformed_cbor()?];
    tables.push(raw::errors(&cddl)?);
    for (name, about, samples) in samples::families() {
        let vectors = samples.iter().map(|sample| sample.vector(&cddl)).collect::<Result<_, _>>()?;
        tables.push(Table { name, about, vectors });
    }
    let directory = root().join("spec/vectors");
    std::fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let mut stale = Vec::new();
    for table in &tables {
        settle(&directory.join(format!("{}.json", table.name)), &table.json()?, check, &mut stale)?;
    }
    for entry in std::fs::read_dir(&directory).map_err(|error| format!("{}: {error}", directory.display()))? {
        let file = entry.map_err(|error| error.to_string())?.file_name().to_string_lossy().into_owned();
        if !tables.iter().any(|table| format!("{}.json", table.name) == file) {
            return Err(format!("spec/vectors/{file} is made by nobody; remove it"));
        }
    }
    if stale.is_empty() {
        return Ok(());
    }
    Err(format!("out of date: {}; run `cargo xtask vectors` and commit the result", stale.join(", ")))
}

impl Table {
    /// The file's text: one vector a line, so that a change shows as the lines that changed.
    fn json(&self) -> Result<String, String> {
        let text = |value: &Value| serde_json::to_string(value).map_err(|error| error.to_string());
        let mut out = format!("{{\"about\": {},\n \"vectors\": [\n", text(&self.about.into())?);
        for (index, vector) in self.vectors.iter().enumerate() {
            let comma = if index + 1 == self.vectors.len() { "" } else { "," };
            let _ = writeln!(out, "  {}{comma}", text(&Value::Object(vector.clone()))?);
        }
        out.push_str("]}\n");
        Ok(out)
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// A vector from its fields.
pub(crate) fn vector<const N: usize>(fields: [(&str, Value); N]) -> Vector {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
