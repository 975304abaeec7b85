//! Extended attributes: as many as are carried, those of a peer set here, and whether two files have the same.
//!
//! Only `user.*` are ever set; the program's own, `user.hikyaku.*`, are neither carried nor taken nor compared. Spec: sections
//! 5.6 and 5.7.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use hikyaku_wire::bundle::{Attribute, MAX_ATTRIBUTES};
use hikyaku_wire::files::AttributesDigest;
use rustix::fs::XattrFlags;

use crate::jail::OWN_ATTRIBUTES;

/// The most bytes of extended attributes of one entry that are carried.
const MAX_ATTRIBUTE_BYTES: usize = 64 * 1024;

/// The extended attributes of an open file or directory whose names are wanted, sorted, as many as a bundle carries; `None`
/// when they cannot be read, as where its file system keeps none.
fn read(file: impl AsFd, is_wanted: fn(&[u8]) -> bool) -> Option<Vec<Attribute>> {
    let mut list = vec![0u8; MAX_ATTRIBUTE_BYTES];
    let len = rustix::fs::flistxattr(&file, &mut list).ok()?;
    let mut names: Vec<&[u8]> =
        list.get(..len)?.split(|byte| *byte == 0).filter(|name| !name.is_empty()).collect();
    names.retain(|name| is_wanted(name));
    names.sort_unstable();
    let (mut out, mut total) = (Vec::new(), 0);
    // Most files have none.
    let mut value = vec![0u8; if names.is_empty() { 0 } else { MAX_ATTRIBUTE_BYTES }];
    for name in names {
        let Ok(len) = rustix::fs::fgetxattr(&file, OsStr::from_bytes(name), &mut value) else { continue };
        total += name.len() + len;
        if total > MAX_ATTRIBUTE_BYTES || out.len() == MAX_ATTRIBUTES {
            break;
        }
        out.push(Attribute { name: name.to_vec(), value: value.get(..len)?.to_vec() });
    }
    Some(out)
}

/// What a bundle says of an open file or directory; nothing of one that has none.
//= S5.54
pub(crate) fn carried(file: impl AsFd) -> Option<Vec<Attribute>> {
    read(file, |name| !name.starts_with(OWN_ATTRIBUTES)).filter(|attributes| !attributes.is_empty())
}

/// Those that a receiver keeps: what is compared, and what a directory hands on to the one whose place it takes. The system's
/// own are on everything here, whoever sent it.
pub(crate) fn comparable(file: impl AsFd) -> Option<Vec<Attribute>> {
    read(file, is_kept)
}

/// Sets extended attributes, and says whether all were kept.
pub(crate) fn set_attributes(file: impl AsFd, attributes: &[Attribute]) -> bool {
    attributes.iter().fold(true, |kept, attribute| {
        //= S5.54
        if attribute.name.starts_with(OWN_ATTRIBUTES) {
            // Another server's word on what it was there, and whose; nobody but this one says what it is here.
            return kept;
        }
        let name = OsStr::from_bytes(&attribute.name);
        // The others are the system's, and would be a way around permissions.
        kept & (is_kept(&attribute.name)
            && rustix::fs::fsetxattr(&file, name, &attribute.value, XattrFlags::empty()).is_ok())
    })
}

/// What a listing says of them: of those alone that a receiver keeps.
//= S5.67
pub(crate) fn digest(attributes: &[Attribute]) -> AttributesDigest {
    // In a bundle that others made they may stand in any order, and the last one of a name is the one that is set.
    let kept = attributes.iter().filter(|attribute| is_kept(&attribute.name));
    let kept: BTreeMap<_, _> = kept.map(|Attribute { name, value }| (name, value)).collect();
    let mut hasher = blake3::Hasher::new();
    for (name, value) in kept {
        // A value has 64 KiB at most on Linux, and no bundle carries more.
        let len = u32::try_from(value.len()).unwrap_or(u32::MAX);
        hasher.update(name).update(&[0]).update(&len.to_be_bytes()).update(value);
    }
    let mut digest = [0; 16];
    hasher.finalize_xof().fill(&mut digest);
    AttributesDigest(digest)
}

fn is_kept(name: &[u8]) -> bool {
    name.starts_with(b"user.") && !name.starts_with(OWN_ATTRIBUTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(attributes: &[(&str, &[u8])]) -> AttributesDigest {
        let attribute = |(name, value): &(&str, &[u8])| Attribute {
            name: name.as_bytes().to_vec(),
            value: value.to_vec(),
        };
        digest(&attributes.iter().map(attribute).collect::<Vec<_>>())
    }

    //= S5.67 (test)
    #[test]
    fn what_is_said_of_attributes_tells_names_and_values_apart_and_is_of_those_that_are_kept() {
        let none = blake3::hash(b"");
        assert_eq!(of(&[]).0, none.as_bytes()[..16]);
        let kept: [&[(&str, &[u8])]; 6] = [
            &[],
            &[("user.a", b"")],
            &[("user.a", b"1")],
            &[("user.a", b"1"), ("user.b", b"")],
            &[("user.a", b""), ("user.b", b"1")],
            &[("user.a", b"\0\0\0\0user.b\0\0\0\0\x011")],
        ];
        for (at, one) in kept.iter().enumerate() {
            let same: Vec<_> = kept.iter().map(|other| of(other) == of(one)).collect();
            assert_eq!(same.iter().position(|same| *same), Some(at));
            assert_eq!(same.iter().filter(|same| **same).count(), 1);
        }
        let others: &[(&str, &[u8])] =
            &[("security.selinux", b"x"), ("user.a", b"1"), ("user.hikyaku.print", b"x"), ("userland", b"x")];
        assert_eq!(of(others), of(&[("user.a", b"1")]));
        assert_eq!(
            of(&[("user.b", b"2"), ("user.a", b"0"), ("user.a", b"1")]),
            of(&[("user.a", b"1"), ("user.b", b"2")])
        );
    }
}
