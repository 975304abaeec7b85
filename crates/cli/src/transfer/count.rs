//! How much there is to send: counted beside the sending, for whoever wants to know how long it will take.
//!
//! Nothing waits for it; until it is done, nobody knows. It looks at names and sizes only.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hikyaku_files::{Pick, WalkOptions};

/// What a file or directory costs in a bundle beside its content, about.
const HEADERS: u64 = 96;

/// What was counted so far. Counting ends when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Counted(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    bytes: AtomicU64,
    files: AtomicU64,
    done: AtomicBool,
    given_up: AtomicBool,
}

impl Counted {
    /// Counts what these paths hold.
    pub(crate) fn begin(paths: &[PathBuf], walk: &WalkOptions) -> Self {
        let counts = Arc::new(Counts::default());
        let (ours, paths, walk) = (counts.clone(), paths.to_vec(), walk.clone());
        tokio::task::spawn_blocking(move || {
            for path in paths {
                if let Some(name) = path.file_name() {
                    ours.count(&path, Path::new(name), &walk);
                }
            }
            ours.done.store(!ours.given_up.load(Ordering::Relaxed), Ordering::Release);
        });
        Self(counts)
    }

    /// About how many bytes and how many files are sent, once they are counted.
    pub(crate) fn total(&self) -> Option<(u64, u64)> {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        self.0.done.load(Ordering::Acquire).then(|| (get(&self.0.bytes), get(&self.0.files)))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.given_up.store(true, Ordering::Relaxed);
    }
}

impl Counts {
    fn count(&self, path: &Path, within: &Path, walk: &WalkOptions) {
        let Ok(meta) = path.symlink_metadata() else { return };
        let pick = walk.filter.as_ref().map_or(Pick::Carry, |filter| filter(within, meta.is_dir()));
        if pick == Pick::Leave || self.given_up.load(Ordering::Relaxed) {
            return;
        }
        // Holes are not sent.
        let content = if meta.is_file() { meta.len().min(meta.blocks().saturating_mul(512)) } else { 0 };
        self.bytes.fetch_add(content + HEADERS, Ordering::Relaxed);
        self.files.fetch_add(u64::from(meta.is_file()), Ordering::Relaxed);
        if meta.is_dir()
            && let Ok(entries) = std::fs::read_dir(path)
        {
            for entry in entries.flatten() {
                self.count(&entry.path(), &within.join(entry.file_name()), walk);
            }
        }
    }
}
