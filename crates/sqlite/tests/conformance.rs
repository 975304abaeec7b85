//! The embedded store passes the suite and follows the model.

use std::cell::Cell;

use hikyaku_sqlite::SqliteStore;
use hikyaku_storage::conformance::{self, Backend};
use proptest::prelude::*;
use tempfile::TempDir;

/// Each store in a directory of its own.
struct Sqlite {
    home: TempDir,
    made: Cell<u32>,
}

impl Sqlite {
    fn new() -> Self {
        Self { home: tempfile::tempdir().expect("a temporary directory"), made: Cell::new(0) }
    }

    fn newest(&self) -> SqliteStore {
        SqliteStore::open(self.home.path().join(self.made.get().to_string())).expect("a store in it")
    }
}

impl Backend for Sqlite {
    type Store = SqliteStore;

    async fn create(&self) -> SqliteStore {
        self.made.set(self.made.get() + 1);
        self.newest()
    }

    async fn reopen(&self, store: SqliteStore) -> SqliteStore {
        drop(store);
        self.newest()
    }
}

#[tokio::test]
async fn the_embedded_store_keeps_every_promise() {
    conformance::all(&Sqlite::new()).await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_embedded_store_follows_the_model(script in prop::collection::vec(any::<u8>(), 0..160)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(conformance::follows_the_model(&Sqlite::new(), &script));
    }
}
