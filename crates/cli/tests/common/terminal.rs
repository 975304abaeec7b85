//! The program as a person sees it: on a terminal, of which only the picture counts.

use std::io::{Read as _, Write as _};
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::PATIENCE;

/// A program on a terminal without a window. It is killed when this is dropped.
pub struct Terminal {
    child: Child,
    keys: std::fs::File,
    shown: Arc<(Mutex<vt100::Parser>, Condvar)>,
}

impl Terminal {
    /// Starts `command` on a terminal of this size.
    pub fn start(mut command: Command, columns: u16, rows: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let end = || rustix::fs::open(&*name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        command.env("TERM", "xterm").stdin(end()).stdout(end()).stderr(end());
        let child = command.spawn().unwrap();
        // Only the program has it open now: what it writes ends when it does.
        drop(command);
        let of = |count| NonZero::new(count).unwrap();
        let parser = vt100::Parser::new(of(rows), of(columns), 0);
        let shown = Arc::new((Mutex::new(parser), Condvar::new()));
        let (seen, mut output) = (shown.clone(), file(&master));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                seen.0.lock().unwrap().process(&bytes[..count]);
                seen.1.notify_all();
            }
            seen.1.notify_all();
        });
        Self { child, keys: master.into(), shown }
    }

    /// Presses keys.
    pub fn type_in(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// What is to be seen now: rows without what is empty behind them.
    pub fn picture(&self) -> String {
        let contents = self.shown.0.lock().unwrap().screen().contents();
        contents.lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }

    /// Waits until the picture `is` it.
    #[track_caller]
    pub fn until(&self, is: impl Fn(&str) -> bool) -> String {
        let begun = Instant::now();
        let mut parser = self.shown.0.lock().unwrap();
        loop {
            let contents = parser.screen().contents();
            let picture: String = contents.lines().map(|line| format!("{}\n", line.trim_end())).collect();
            if is(&picture) {
                return picture;
            }
            let left = PATIENCE.checked_sub(begun.elapsed());
            let left = left.unwrap_or_else(|| panic!("it was not seen; this is:\n{picture}"));
            parser = self.shown.1.wait_timeout(parser, left).unwrap().0;
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn file(fd: &OwnedFd) -> std::fs::File {
    fd.try_clone().unwrap().into()
}

/// With every time of day, and the day, as one.
pub fn at_one_time(picture: &str) -> String {
    let mut out = String::new();
    for line in picture.lines() {
        let words = line.split(' ').map(|word| {
            let is = |pattern: &str| {
                word.len() == pattern.len()
                    && word
                        .chars()
                        .zip(pattern.chars())
                        .all(|(c, p)| if p == '0' { c.is_ascii_digit() } else { c == p })
            };
            match word {
                _ if is("00:00") => "20:03",
                _ if is("00:00:00") => "20:03:12",
                _ if is("0000-00-00") => "2026-11-22",
                word => word,
            }
        });
        out += &words.collect::<Vec<_>>().join(" ");
        out.push('\n');
    }
    out
}
