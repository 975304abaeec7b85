//! Mending an object of which something has decayed: what that is, and taking it from whoever still has it.
//!
//! No I/O but the object's own. The chaining values say what every group was, as long as they prove the root; whoever gives
//! something back is believed nothing. A group is written when its bytes have the value, so mending never makes anything
//! worse, whoever tries it and wherever it breaks off. Where the values have decayed and the content has not, they are
//! computed anew; where both have, nobody can say what is right, and only the whole helps. Spec: section 5.12.

use blake3::Hasher;
use hikyaku_storage::vault::{Mending, Object, VaultError};
use hikyaku_wire::files::mending::{MAX_LACKING, Span};
use hikyaku_wire::files::{Block, CV_LEN, MAX_BLOCK_LEN};
use hikyaku_wire::parcel::Root;

use crate::error::{FilesError, Result};
use crate::pause::Gone;
use crate::tree::{self, Cv, GROUP, GROUP_LEN, Tree};

mod due;

pub(crate) use due::Due;

/// What of an object is not what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Survey {
    root: Root,
    size: u64,
    /// Where groups have decayed, and what they were, in order. At most [`MAX_LACKING`].
    groups: Vec<(u64, Cv)>,
    /// Whether there are more.
    pub(crate) is_more: bool,
    /// Whether the chaining values are to be computed anew.
    values: bool,
    /// Whether there is something behind the end.
    surplus: bool,
}

impl Survey {
    /// Reads all of it, as long as somebody waits.
    ///
    /// # Errors
    /// [`FilesError::Lost`] when neither the content nor the chaining values prove the root.
    //= S5.120
    pub(crate) fn of(object: &dyn Object, root: Root, size: u64, gone: &Gone) -> Result<Self> {
        let proved = size <= GROUP_LEN || is_proved(object, root, size)?;
        let surplus = object.size() > size;
        let mut survey = Self { root, size, groups: Vec::new(), is_more: false, values: !proved, surplus };
        let (mut whole, mut buffer) = (Hasher::new(), vec![0; GROUP]);
        for offset in (0..size).step_by(GROUP) {
            if gone.is_set() {
                return Err(hikyaku::Error::Truncated.into());
            }
            let want = survey.group_len(offset);
            let read =
                readable(object.read(offset, buffer.get_mut(..want).unwrap_or_default()))?.unwrap_or(0);
            let bytes = buffer.get(..read).unwrap_or_default();
            if !proved {
                whole.update(bytes);
                continue;
            }
            let (mut cv, is_alone) = ([0; 32], size <= GROUP_LEN);
            let there =
                readable(object.read_outboard(offset / GROUP_LEN * CV_LEN, &mut cv))? == Some(cv.len());
            let is_good = read == want && {
                let group = tree::group(offset, bytes);
                let is_same = group.cv == cv;
                // That of a group which is alone proves nothing, and follows from the group.
                survey.values |= is_alone && group.whole() == Some(root) && !(there && is_same);
                if is_alone { group.whole() == Some(root) } else { is_same }
            };
            if !is_good && !survey.add(offset, cv) {
                break;
            }
        }
        let is_whole = size > 0 || root == Root(*blake3::hash(b"").as_bytes());
        if !is_whole || !proved && whole.finalize().as_bytes() != &root.0 {
            return Err(FilesError::Lost { size });
        }
        Ok(survey)
    }

    /// Notes a group; false where no more fit.
    fn add(&mut self, offset: u64, cv: Cv) -> bool {
        self.is_more = self.groups.len() == MAX_LACKING;
        if !self.is_more {
            self.groups.push((offset, cv));
        }
        !self.is_more
    }

    fn group_len(&self, offset: u64) -> usize {
        usize::try_from(self.size.saturating_sub(offset)).unwrap_or(GROUP).min(GROUP)
    }

    /// What has decayed, neighbours together.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let mut spans: Vec<Span> = Vec::new();
        for (offset, _) in &self.groups {
            let len = self.group_len(*offset) as u64;
            match spans.last_mut() {
                Some(last) if last.offset + last.len == *offset => last.len += len,
                _ => spans.push(Span { offset: *offset, len }),
            }
        }
        spans
    }

    /// Whether nothing is to be done.
    pub(crate) fn is_whole(&self) -> bool {
        self.groups.is_empty() && !self.values && !self.surplus
    }
}

/// What was read; `None` where the disk cannot: then it has decayed like what is wrong, and is written anew.
fn readable(read: Result<usize, VaultError>) -> Result<Option<usize>> {
    let eio = rustix::io::Errno::IO.raw_os_error();
    match read {
        Err(VaultError::Io(error)) if error.raw_os_error() == Some(eio) => Ok(None),
        read => Ok(Some(read?)),
    }
}

/// Whether the chaining values of an object prove its root, for two groups or more.
fn is_proved(object: &dyn Object, root: Root, size: u64) -> Result<bool> {
    let (mut tree, mut offset, mut buffer) = (Tree::new(), 0, vec![0; GROUP]);
    loop {
        let Some(read) = readable(object.read_outboard(offset, &mut buffer))? else { return Ok(false) };
        let (cvs, rest) = buffer.get(..read).unwrap_or_default().as_chunks::<32>();
        cvs.iter().for_each(|cv| tree.push_cv(*cv));
        offset += read as u64;
        if read < buffer.len() {
            let all = rest.is_empty() && tree.groups() == size.div_ceil(GROUP_LEN);
            return Ok(all && tree.root() == Some(root));
        }
        if tree.groups() > size.div_ceil(GROUP_LEN) {
            return Ok(false);
        }
    }
}

/// An object that is being given back what it lacks.
pub(crate) struct Stitching {
    object: Box<dyn Mending>,
    survey: Survey,
    /// How many of the survey's groups are mended.
    done: usize,
    bytes: u64,
}

impl Stitching {
    pub(crate) fn new(object: Box<dyn Mending>, survey: Survey) -> Self {
        Self { object, survey, done: 0, bytes: 0 }
    }

    pub(crate) fn survey(&self) -> &Survey {
        &self.survey
    }

    /// Whether what is right here may not be durable.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.object.is_doubtful()
    }

    /// How many bytes were mended with what came.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes the bytes of a block: verified, then written in their place, group by group.
    //= S5.121
    pub(crate) fn take(&mut self, block: &Block, data: &[u8]) -> Result<()> {
        let range = |reason| Err(FilesError::Range { reason, offset: block.offset, len: block.len });
        if block.entry.is_some() {
            return range("it names an entry of a tree, and this is one object");
        }
        if block.len == 0 || block.len > MAX_BLOCK_LEN || data.len() as u64 != block.len {
            return range("a block has 1 byte to 1 MiB, and as many as it says");
        }
        if block.cvs.len() as u64 != block.len.div_ceil(GROUP_LEN) * CV_LEN {
            return range("it has not one chaining value for each group");
        }
        let mut at = block.offset;
        for bytes in data.chunks(GROUP) {
            let Some((offset, cv)) = self.survey.groups.get(self.done) else {
                return range("nothing more was asked for");
            };
            if *offset != at || bytes.len() != self.survey.group_len(at) {
                return range("it is not what was asked for next, in whole groups");
            }
            let group = tree::group(at, bytes);
            let is_right = match self.survey.size {
                ..=GROUP_LEN => group.whole() == Some(self.survey.root),
                _ => group.cv == *cv,
            };
            //= S5.122
            if !is_right {
                return Err(FilesError::GroupMismatch { offset: at, len: bytes.len() as u64 });
            }
            self.object.write(at, bytes, at / GROUP_LEN * CV_LEN, &group.cv)?;
            (self.done, self.bytes) = (self.done + 1, self.bytes + bytes.len() as u64);
            at += bytes.len() as u64;
        }
        Ok(())
    }

    /// Everything came that was asked for: all of it is durable on return. Returns whether the chaining values were computed anew.
    //= S5.122
    pub(crate) fn finish(mut self, root: Root, size: u64) -> Result<bool> {
        if (root, size) != (self.survey.root, self.survey.size) || self.done != self.survey.groups.len() {
            let reason = "the close is not that of what was asked for";
            return Err(FilesError::Range { reason, offset: size, len: 0 });
        }
        if self.survey.values {
            self.renew_values()?;
        }
        // With more to come, whoever comes for that writes it again.
        if self.object.is_doubtful() && !self.survey.is_more {
            self.write_again()?;
        }
        // Also where nothing was to be done: what is whole may have been written a moment ago, by an attempt that broke off.
        self.object.sync(size, size.div_ceil(GROUP_LEN) * CV_LEN)?;
        Ok(self.survey.values)
    }

    /// All of it can be read and is right, and the disk may have something else: after a synchronisation that failed, Linux
    /// keeps what was to be written and calls it clean, so that no later one writes it.
    //= S5.122
    fn write_again(&mut self) -> Result<()> {
        let (mut buffer, size) = (vec![0; GROUP], self.survey.size);
        for offset in (0..size).step_by(GROUP) {
            let (want, mut cv) = (self.survey.group_len(offset), [0; 32]);
            let bytes = buffer.get_mut(..want).unwrap_or_default();
            let read = self.object.read(offset, bytes)?;
            self.object.read_outboard(offset / GROUP_LEN * CV_LEN, &mut cv)?;
            // It may have left the memory since it was looked at: then what the disk has is to be mended, and not kept.
            if read < want || tree::group(offset, bytes).cv != cv {
                return Err(FilesError::GroupMismatch { offset, len: want as u64 });
            }
            self.object.write(offset, bytes, offset / GROUP_LEN * CV_LEN, &cv)?;
        }
        tracing::info!(root = %self.survey.root, size, "written again: an attempt before may not be durable");
        Ok(())
    }

    /// The content proves the root; the values follow from it.
    //= S5.120
    fn renew_values(&mut self) -> Result<()> {
        let mut buffer = vec![0; GROUP];
        for offset in (0..self.survey.size).step_by(GROUP) {
            let read = self.object.read(offset, &mut buffer)?.min(self.survey.group_len(offset));
            let cv = tree::group(offset, buffer.get(..read).unwrap_or_default()).cv;
            self.object.write(offset, &[], offset / GROUP_LEN * CV_LEN, &cv)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
