//! What comes once is sent once, and again as far as it is kept.

use super::*;
use hikyaku_wire::files::Component;

fn noise(length: usize) -> Vec<u8> {
    (0..length).map(|index| ((index * 2_654_435_761) >> 11) as u8).collect()
}

/// A reader that gives as much at once as it likes.
struct Dribble(Vec<u8>, usize, usize);

impl Read for Dribble {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.2 = (self.2 * 31 + 7) % 300_000 + 1;
        let length = self.2.min(buffer.len()).min(self.0.len() - self.1);
        buffer[..length].copy_from_slice(&self.0[self.1..self.1 + length]);
        self.1 += length;
        Ok(length)
    }
}

fn pipe(bytes: &[u8]) -> OutgoingPipe {
    let target = Target::Drop(Vec::<Component>::new());
    OutgoingPipe::new(Dribble(bytes.to_vec(), 0, 5), "standard input", b"name", target).unwrap()
}

fn read(reading: &mut ReadingPipe, until: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while out.len() < until {
        let Some(Said::Block(block, bytes)) = reading.next(&Progress::none()).unwrap() else { break };
        assert_eq!((block.len as usize, block.cvs.len()), (bytes.len(), bytes.len().div_ceil(GROUP) * 32));
        out.extend_from_slice(&bytes);
    }
    out
}

#[test]
fn what_comes_in_any_pieces_is_read_whole() {
    for length in [0, 1, GROUP, GROUP + 1, 1_300_000] {
        let content = noise(length);
        let mut reading = pipe(&content).read_from(0, None).unwrap();
        assert!(read(&mut reading, usize::MAX) == content);
        let close = reading.close().unwrap();
        assert_eq!((close.size, close.root.0), (length as u64, *blake3::hash(&content).as_bytes()));
    }
}

#[test]
fn after_a_break_it_goes_on_at_any_group_that_is_kept() {
    let content = noise(3_000_000);
    for from in (0..30).map(|group| group * GROUP) {
        let pipe = pipe(&content);
        let mut first = pipe.read_from(0, None).unwrap();
        let sent = read(&mut first, 2_000_000).len();
        assert!(sent > from);
        let prefix = (from > 0).then(|| Root(*blake3::hash(&content[..from]).as_bytes()));
        let mut again = pipe.read_from(from as u64, prefix).unwrap();
        assert!(read(&mut again, usize::MAX) == content[from..], "from {from}");
        assert_eq!(again.close().unwrap().root.0, *blake3::hash(&content).as_bytes());
    }
}

#[test]
fn what_is_not_kept_any_more_is_not_made_up() {
    let content = noise(KEPT as usize + 4 * BLOCK_LEN as usize);
    let pipe = pipe(&content);
    read(&mut pipe.read_from(0, None).unwrap(), usize::MAX);
    let refused = pipe.read_from(0, None).err().unwrap();
    assert!(refused.to_string().contains("cannot be read again"), "{refused}");
    assert!(!refused.is_retryable());
}

#[test]
fn a_receiver_with_other_bytes_is_not_gone_on_with() {
    let content = noise(1_000_000);
    let pipe = pipe(&content);
    read(&mut pipe.read_from(0, None).unwrap(), usize::MAX);
    let other = Some(Root([7; 32]));
    assert!(matches!(pipe.read_from(GROUP_LEN, other).err(), Some(FilesError::SourceChanged(_))));
}

/// Whoever writes a line to a pipe need not write 64 KiB more for somebody to see it.
#[test]
fn what_is_in_a_pipe_is_sent_although_no_group_is_whole_and_more_may_come() {
    let (input, mut output) = io::pipe().unwrap();
    let target = Target::Room("lab".into());
    let pipe = OutgoingPipe::live(input.into(), "standard input", b"x.log", target).unwrap();
    let mut reading = pipe.read_from(0, None).unwrap();
    let mut all = Vec::new();
    // No more at once than a pipe holds.
    for line in [&b"one\n"[..], b"two and three\n", &noise(40_000), &noise(40_077), b"more\n"] {
        io::Write::write_all(&mut output, line).unwrap();
        all.extend_from_slice(line);
        let mut come = Vec::new();
        while come.len() < line.len() {
            let Some(Said::Block(block, bytes)) = reading.next(&Progress::none()).unwrap() else { panic!() };
            let begin = block.offset as usize % GROUP;
            assert_eq!(block.cvs.len(), (begin + bytes.len()).div_ceil(GROUP) * 32);
            come.extend_from_slice(&bytes);
        }
        assert!(come == line);
    }
    drop(output);
    assert!(reading.next(&Progress::none()).unwrap().is_none());
    assert_eq!(reading.close().unwrap().root.0, *blake3::hash(&all).as_bytes());
    // One that comes back gets whole groups, and what is there of the last.
    let mut again = pipe.read_from(GROUP_LEN, None).unwrap();
    assert!(read(&mut again, usize::MAX) == all[GROUP..]);
}
