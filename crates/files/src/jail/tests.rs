use std::os::unix::fs::symlink;

use super::*;

fn name(bytes: &[u8]) -> SafeName {
    SafeName::parse(bytes, Dots::Allowed).unwrap()
}

fn path(components: &[&[u8]]) -> SafeRelPath {
    SafeRelPath::parse(components.iter().copied(), Dots::Refused).unwrap()
}

fn jail() -> (tempfile::TempDir, Dir) {
    let temp = tempfile::tempdir().unwrap();
    std::fs::create_dir(temp.path().join("jail")).unwrap();
    std::fs::create_dir(temp.path().join("outside")).unwrap();
    let dir = Dir::open(&temp.path().join("jail")).unwrap();
    (temp, dir)
}

//= S5.22 (test)
#[test]
fn a_symbolic_link_in_a_parent_is_refused() {
    let (temp, dir) = jail();
    symlink(temp.path().join("outside"), temp.path().join("jail/link")).unwrap();
    symlink("../outside", temp.path().join("jail/up")).unwrap();
    std::fs::create_dir(temp.path().join("jail/real")).unwrap();
    symlink("real", temp.path().join("jail/inner")).unwrap();
    for link in [&b"link"[..], b"up", b"inner"] {
        assert!(dir.open_dir(&path(&[link])).is_err());
        assert!(dir.ensure_dir(&path(&[link, b"sub"])).is_err());
    }
    assert!(dir.open_dir(&path(&[b"real"])).is_ok());
    assert_eq!(std::fs::read_dir(temp.path().join("outside")).unwrap().count(), 0);
}

#[test]
fn a_symbolic_link_as_the_file_itself_is_refused() {
    let (temp, dir) = jail();
    std::fs::write(temp.path().join("outside/secret"), "secret").unwrap();
    symlink("../outside/secret", temp.path().join("jail/f")).unwrap();
    symlink("../outside/new", temp.path().join("jail/g")).unwrap();
    assert!(dir.open_file(&name(b"f"), true).is_err());
    assert!(dir.create(&name(b"f")).is_err());
    assert!(dir.create(&name(b"g")).is_err(), "a dangling link is not a place to create through");
    assert!(!temp.path().join("outside/new").exists());
}

#[test]
fn publishing_never_replaces_a_file_a_link_or_a_directory() {
    let (temp, dir) = jail();
    std::fs::write(temp.path().join("jail/file"), "old").unwrap();
    symlink("nowhere", temp.path().join("jail/link")).unwrap();
    std::fs::create_dir(temp.path().join("jail/dir")).unwrap();
    dir.create(&name(b"part")).unwrap();
    for taken in [&b"file"[..], b"link", b"dir"] {
        let error = dir.publish(&name(b"part"), &dir, &name(taken)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    }
    assert_eq!(std::fs::read(temp.path().join("jail/file")).unwrap(), b"old");
    dir.publish(&name(b"part"), &dir, &name(b"fresh")).unwrap();
    assert!(dir.identify(&name(b"fresh")).unwrap().is_some());
}

#[test]
fn a_directory_swapped_for_a_link_while_files_arrive_leads_nowhere() {
    let (temp, dir) = jail();
    let root = temp.path().to_owned();
    std::fs::create_dir(root.join("jail/a")).unwrap();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let attacker = std::thread::spawn({
        let (root, stop) = (root.clone(), stop.clone());
        move || {
            symlink("../outside", root.join("jail/evil")).unwrap();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let flags = RenameFlags::EXCHANGE;
                let cwd = rustix::fs::CWD;
                rustix::fs::renameat_with(cwd, root.join("jail/a"), cwd, root.join("jail/evil"), flags)
                    .unwrap();
            }
        }
    });
    let mut refused = 0;
    for index in 0..2_000 {
        match dir.ensure_dir(&path(&[b"a"])) {
            Ok(at) => drop(at.create(&name(format!("f{index}").as_bytes())).unwrap()),
            Err(_) => refused += 1,
        }
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    attacker.join().unwrap();
    assert_eq!(std::fs::read_dir(root.join("outside")).unwrap().count(), 0, "{refused} refused");
}

#[test]
fn a_fifo_does_not_hang_and_is_not_a_file() {
    let (temp, dir) = jail();
    let fifo = temp.path().join("jail/fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::RWXU, 0).unwrap();
    assert!(dir.open_file(&name(b"fifo"), false).is_err());
    assert!(dir.open_file(&name(b"absent"), false).unwrap().is_none());
}

#[test]
fn missing_directories_are_made_and_removed_names_are_gone() {
    let (temp, dir) = jail();
    let deep = dir.ensure_dir(&path(&[b"x", b"y\n", b"\xff"])).unwrap();
    deep.create(&name(b"f")).unwrap();
    assert_eq!(deep.names().unwrap(), vec![name(b"f")]);
    deep.remove(&name(b"f")).unwrap();
    deep.remove(&name(b"f")).unwrap();
    assert!(deep.names().unwrap().is_empty());
    assert!(dir.free_space().unwrap() > 0);
    drop(temp);
}

#[test]
fn a_lock_is_held_by_one() {
    let (_temp, dir) = jail();
    let first = dir.create(&name(b"l")).unwrap();
    let second = dir.open_file(&name(b"l"), true).unwrap().unwrap();
    assert!(try_lock(&first).unwrap());
    assert!(!try_lock(&second).unwrap());
    drop(first);
    assert!(try_lock(&second).unwrap());
}
