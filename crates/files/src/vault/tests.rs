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

#[test]
fn content_that_decayed_is_mended_by_whoever_sends_it_again() {
    let (temp, vault) = vault();
    let data: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
    let root = ObjectId(*blake3::hash(&data).as_bytes());
    let put = |number: u8| {
        let Ok(Reserved::Open(mut partial)) = vault.reserve(Transfer([number; 16]), Some(200_000)) else {
            panic!("a new transfer")
        };
        let cvs = data.chunks(crate::tree::GROUP).enumerate();
        let cvs = cvs.flat_map(|(at, group)| crate::tree::group(at as u64 * 65_536, group).cv);
        partial.write(0, &data, 0, &cvs.collect::<Vec<u8>>()).unwrap();
        partial.seal(root, 200_000, Reference([number; 16])).unwrap();
    };
    let good = |vault: &FsVault| {
        let object = vault.open(root).unwrap();
        let mut found = vec![0; 200_001];
        let count = object.read(0, &mut found).unwrap();
        let values = File::open(temp.path().join(format!("vault/objects/{root}.tree"))).unwrap();
        found[..count] == data && crate::tree::proves(&values, 200_000, Root(root.0)).unwrap()
    };
    put(1);
    for (number, name) in [(2, format!("{root}")), (3, format!("{root}.tree"))] {
        let path = temp.path().join("vault/objects").join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[70] ^= 1;
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
        assert!(!good(&vault));
        put(number);
        assert!(good(&vault), "{number}");
    }
}

#[test]
fn what_a_crash_leaves_beside_objects_goes_with_a_collection() {
    let (temp, vault) = vault();
    let at = temp.path().join("vault");
    let root = "ab".repeat(32);
    std::fs::create_dir(at.join("refs").join(&root)).unwrap();
    std::fs::write(at.join(format!("objects/{root}.tree")), "values").unwrap();
    std::fs::create_dir(at.join("refs").join("cd".repeat(32))).unwrap();
    vault.reference(ObjectId([0xab; 32]), Reference([1; 16])).expect_err("there is no object");
    assert_eq!(vault.roots().unwrap().len(), 2);
    assert_eq!(vault.collect().unwrap().objects, 0);
    assert!(vault.roots().unwrap().is_empty());
}
