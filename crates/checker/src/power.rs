//! What only the system can do to a program: power that fails under its disk, and a clock that jumps.
//!
//! The disk is an ext4 file system in a file. Its power fails with ext4's own `SHUTDOWN` call without a flush of the
//! log: from one moment to the next nothing more reaches the medium, and what was only in memory is gone. It does not
//! model a disk that lies about its flushes. The clock is moved by a library that is loaded before libc's. Both are a
//! few lines of C, compiled when they are needed, since calling the system like this is unsafe in Rust.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const GODOWN: &str = r#"
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#define GOING_DOWN _IOR('X', 125, unsigned)
int main(int argc, char **argv) {
    unsigned without_flushing_the_log = 2;
    int fd = argc > 1 ? open(argv[1], O_RDONLY) : -1;
    if (fd < 0 || ioctl(fd, GOING_DOWN, &without_flushing_the_log) != 0) { perror("godown"); return 1; }
    return 0;
}
"#;

const CLOCK: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
static volatile int64_t *seconds;
static int (*real)(clockid_t, struct timespec *);
__attribute__((constructor)) static void start(void) {
    const char *path = getenv("CHECKER_CLOCK");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *at = fd < 0 ? MAP_FAILED : mmap(0, 8, PROT_READ, MAP_SHARED, fd, 0);
    if (at != MAP_FAILED) seconds = at;
    real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
}
int clock_gettime(clockid_t clock, struct timespec *time) {
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, time);
    if (result == 0 && clock == CLOCK_REALTIME && seconds) time->tv_sec += *seconds;
    return result;
}
"#;

/// What takes the room of a disk that is to be full.
const FILLER: &str = "filler";
/// How large a disk is, in bytes: enough for a run, quick to make.
const SIZE: u64 = 96 << 20;

/// Runs a command that must succeed.
pub(crate) fn must(command: &mut Command) -> Result<(), String> {
    let what = format!("{command:?}");
    let done = command.output().map_err(|error| format!("{what}: {error}"))?;
    if done.status.success() {
        return Ok(());
    }
    Err(format!("{what}: {}: {}", done.status, String::from_utf8_lossy(&done.stderr).trim()))
}

/// A disk whose power can fail.
pub(crate) struct Disk {
    image: PathBuf,
    /// Where it is mounted.
    pub(crate) path: PathBuf,
    godown: PathBuf,
    /// How often the image was copied.
    copies: u64,
}

impl Disk {
    /// Whether this process may make one; it tries.
    pub(crate) fn is_possible() -> bool {
        rustix::process::geteuid().is_root()
            && tempfile::tempdir().is_ok_and(|directory| Self::new(directory.path()).is_ok())
    }

    pub(crate) fn new(directory: &Path) -> Result<Self, String> {
        Self::with_size(directory, SIZE)
    }

    /// One of so many bytes.
    pub(crate) fn with_size(directory: &Path, size: u64) -> Result<Self, String> {
        let godown = directory.join("godown");
        let source = directory.join("godown.c");
        fs::write(&source, GODOWN).map_err(|error| error.to_string())?;
        must(Command::new("cc").arg("-o").arg(&godown).arg(&source))?;
        let (image, path) = (directory.join("disk.img"), directory.join("disk"));
        let made = fs::File::create(&image).and_then(|file| file.set_len(size));
        made.and_then(|()| fs::create_dir(&path)).map_err(|error| error.to_string())?;
        must(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image))?;
        let disk = Self { image, path, godown, copies: 0 };
        disk.mount()?;
        Ok(disk)
    }

    fn mount(&self) -> Result<(), String> {
        must(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.path))
    }

    /// From now on nothing reaches the medium.
    pub(crate) fn cut(&self) -> Result<(), String> {
        must(Command::new(&self.godown).arg(&self.path))
    }

    /// The power is back. Whoever had files open there must be gone.
    pub(crate) fn heal(&mut self) -> Result<(), String> {
        must(Command::new("umount").arg(&self.path))?;
        self.mount()?;
        let probe = self.path.join("probe");
        if fs::write(&probe, "").and_then(|()| fs::remove_file(&probe)).is_ok() {
            return Ok(());
        }
        // Some other name space of mounts on this computer has it still, without power: what is on the medium is mounted anew.
        must(Command::new("umount").arg(&self.path))?;
        let copy = self.image.with_extension(format!("{}.img", self.copies));
        must(Command::new("cp").arg("--sparse=always").arg(&self.image).arg(&copy))?;
        (self.image, self.copies) = (copy, self.copies + 1);
        self.mount()
    }
}

impl Disk {
    /// Takes all room but so many bytes; with 0 left nobody has any.
    pub(crate) fn fill(&self, leaves: u64) -> Result<(), String> {
        use rustix::fs::{FallocateFlags, fallocate};
        let filler = fs::File::create(self.path.join(FILLER)).map_err(|error| error.to_string())?;
        let mut filled = 0;
        // What is kept for root has no owner when files are to find room: then it stays.
        let free = || {
            let disk = rustix::fs::fstatvfs(&filler).map_err(|error| error.to_string())?;
            let blocks = if leaves == 0 { disk.f_bfree } else { disk.f_bavail };
            Ok::<_, String>((blocks * disk.f_frsize).saturating_sub(leaves))
        };
        // Where the disk keeps its own books takes room, too: less and less at a time, until nothing is left.
        let mut piece = free()?;
        while piece >= 4_096 {
            match fallocate(&filler, FallocateFlags::empty(), filled, piece) {
                Ok(()) => {
                    filled += piece;
                    piece = free()?.min(piece);
                }
                Err(_) => piece /= 2,
            }
        }
        Ok(())
    }

    /// Gives the room back.
    pub(crate) fn empty(&self) -> Result<(), String> {
        fs::remove_file(self.path.join(FILLER)).map_err(|error| error.to_string())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: whatever still holds it is about to end.
        let _ = Command::new("umount").arg("-l").arg(&self.path).output();
    }
}

/// A clock for one program.
pub(crate) struct Clock {
    library: PathBuf,
    offset: PathBuf,
}

impl Clock {
    pub(crate) fn new(directory: &Path) -> Result<Self, String> {
        let (library, source) = (directory.join("clock.so"), directory.join("clock.c"));
        fs::write(&source, CLOCK).map_err(|error| error.to_string())?;
        must(Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-ldl"))?;
        let clock = Self { library, offset: directory.join("clock") };
        clock.set(0)?;
        Ok(clock)
    }

    /// Moves it by so many seconds from the true time.
    pub(crate) fn set(&self, seconds: i64) -> Result<(), String> {
        use std::os::unix::fs::FileExt as _;
        let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(&self.offset);
        file.and_then(|file| file.write_all_at(&seconds.to_ne_bytes(), 0)).map_err(|error| error.to_string())
    }

    /// Makes a program go by it.
    pub(crate) fn apply(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env("CHECKER_CLOCK", &self.offset);
    }
}
