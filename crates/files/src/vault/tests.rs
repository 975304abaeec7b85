use hikyaku_storage::vault::conformance;

use super::*;

fn vault() -> (tempfile::TempDir, FsVault) {
    let temp = tempfile::tempdir().unwrap();
    let vault = FsVault::open(&temp.path().join("vault"), 0).unwrap();
    (temp, vault)
}

#[test]
fn the_file_system_vault_keeps_every_promise_of_the_suite() {
    let mut temps = Vec::new();
    conformance::run(&mut |_| {
        let (temp, vault) = vault();
        temps.push(temp);
        Box::new(vault)
    });
}

#[test]
fn what_is_marked_is_there_after_a_restart() {
    let (temp, vault) = vault();
    conformance::a_mark_survives_a_crash(&vault, &mut || {
        Box::new(FsVault::open(&temp.path().join("vault"), 0).unwrap())
    });
}

#[test]
fn a_crash_between_the_name_and_the_last_record_is_a_sealed_object() {
    let (temp, vault) = vault();
    let root = ObjectId([3; 32]);
    let Ok(Reserved::Open(mut partial)) = vault.reserve(Transfer([1; 16]), Some(4)) else {
        panic!("a new transfer")
    };
    partial.write(0, b"data", 0, &[0; 32]).unwrap();
    partial.seal(root, 4, Reference([1; 16])).unwrap();
    let journal = temp.path().join(format!("vault/partials/{}.journal", Transfer([1; 16])));
    let bytes = std::fs::read(&journal).unwrap();
    std::fs::write(&journal, &bytes[..bytes.len() - 3]).unwrap();
    let vault = FsVault::open(&temp.path().join("vault"), 0).unwrap();
    let sealed = Sealed { root, size: 4 };
    assert_eq!(vault.transfers().unwrap()[0].sealed, Some(sealed));
    assert!(matches!(vault.reserve(Transfer([1; 16]), None), Ok(Reserved::Sealed(found)) if found == sealed));
}

#[test]
fn more_than_the_free_space_is_refused_before_a_byte_is_written() {
    let (temp, vault) = vault();
    let refused = vault.reserve(Transfer([1; 16]), Some(1 << 52));
    assert!(matches!(refused, Err(VaultError::Full { needed, .. }) if needed == 1 << 52));
    assert!(vault.transfers().unwrap().is_empty(), "nothing is left of it");
    let greedy = FsVault::open(&temp.path().join("other"), u64::MAX).unwrap();
    assert!(matches!(greedy.reserve(Transfer([1; 16]), Some(1)), Err(VaultError::Full { free: 0, .. })));
}

#[test]
fn the_stray_names_in_a_vault_are_left_alone() {
    let (temp, vault) = vault();
    std::fs::write(temp.path().join("vault/partials/README"), "mine").unwrap();
    std::fs::write(temp.path().join("vault/objects/README"), "mine").unwrap();
    assert!(vault.transfers().unwrap().is_empty());
    assert_eq!(vault.collect().unwrap(), Collected::default());
    assert!(temp.path().join("vault/objects/README").exists());
}
