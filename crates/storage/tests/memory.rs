//! The in-memory model passes the suite it is the model of.

use hikyaku_storage::conformance::{self, Backend};
use hikyaku_storage::memory::MemoryStore;
use proptest::prelude::*;

struct Memory;

impl Backend for Memory {
    type Store = MemoryStore;

    async fn create(&self) -> MemoryStore {
        MemoryStore::new()
    }

    async fn reopen(&self, store: MemoryStore) -> MemoryStore {
        store.clone()
    }
}

#[tokio::test]
async fn the_model_keeps_every_promise() {
    conformance::all(&Memory).await;
}

proptest! {
    /// The model agrees with itself: this proves the script, so that a difference elsewhere is the backend's.
    #[test]
    fn the_script_runs_alike_on_two_models(script in prop::collection::vec(any::<u8>(), 0..400)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(conformance::follows_the_model(&Memory, &script));
    }
}
