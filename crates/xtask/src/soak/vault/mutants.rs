//! Mistakes of a server that keeps parcels, and of a client that receives them, that the proof of the vault must find.
//!
//! Where two steps change places, what lies between them is given time: a fault has to fall there.

use crate::soak::mutants::Mutant;

/// No faults but these, and many of them.
const KILLS: &[&str] =
    &["--server-kills", "14", "--sender-kills", "0", "--getter-kills", "0", "--receiver-kills", "0"];
const CUTS: &[&str] = &[
    "--cuts",
    "10",
    "--server-kills",
    "0",
    "--sender-kills",
    "0",
    "--getter-kills",
    "0",
    "--receiver-kills",
    "0",
];
const RECEIVERS: &[&str] =
    &["--server-kills", "0", "--sender-kills", "0", "--getter-kills", "14", "--receiver-kills", "6"];

/// Time between the faults, and many who send: what has just expired is sent again and again.
const CALM: &[&str] = &[
    "--gap",
    "4000",
    "--senders",
    "4",
    "--server-kills",
    "4",
    "--sender-kills",
    "0",
    "--getter-kills",
    "0",
    "--receiver-kills",
    "0",
];

const INCOMING: &str = "crates/files/src/client/incoming.rs";

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant { name: "none, kills", replacements: &[], arguments: KILLS },
    Mutant { name: "none, power cuts", replacements: &[], arguments: CUTS },
    Mutant { name: "none, receivers", replacements: &[], arguments: RECEIVERS },
    Mutant {
        name: "seal before fsync",
        replacements: &[(
            "crates/files/src/staging/staged.rs",
            "if synced == Synced::None { Ok(()) } else { self.pair.sync(disk::sync_all) }",
            "let _ = synced;
        Ok(())",
        )],
        arguments: CUTS,
    },
    Mutant {
        name: "end before seal",
        replacements: &[(
            "crates/files/src/server/put/room.rs",
            "                Ok((root, size)) => partial.seal(ObjectId(root.0), size, reference).map_err(FilesError::from),",
            "                Ok((root, size)) => {
                    let runtime = tokio::runtime::Handle::current();
                    let open = runtime.block_on(server.shared.rooms.open_parcels());
                    let this = open.into_iter().flatten().find(|parcel| parcel.transfer == transfer);
                    if let Some(parcel) = this {
                        let sealed = Sealed { root: ObjectId(root.0), size };
                        let _ = runtime.block_on(server.conclude(transfer, &parcel.event, Some(sealed)));
                    }
                    std::thread::sleep(std::time::Duration::from_millis(80));
                    partial.seal(ObjectId(root.0), size, reference).map_err(FilesError::from)
                }",
        )],
        arguments: KILLS,
    },
    Mutant {
        name: "collect without the reference lock",
        replacements: &[
            (
                "crates/files/src/vault.rs",
                "        let _exclusive = self.removing.write().unwrap_or_else(PoisonError::into_inner);\n",
                "",
            ),
            (
                "crates/files/src/vault.rs",
                "        let data = self.objects.open_file(&object_name(root), false)?;
        let size =",
                "        std::thread::sleep(std::time::Duration::from_millis(300));
        let data = self.objects.open_file(&object_name(root), false)?;
        let size =",
            ),
        ],
        arguments: CALM,
    },
    Mutant {
        name: "receipt before rename",
        replacements: &[
            (
                INCOMING,
                "let published = waiting.until_room(|| Ok(staged.publish(root, size, &meta, &place)?));",
                "let published: Result<SafeName> = Ok(place.name.clone());",
            ),
            (
                INCOMING,
                "                let remains = Remains { into: self.into, transfer };
                Ok(Published { receipt, name, report: None, remains })",
                "                let (into, own) = (self.into.try_clone().map_err(VaultError::Io)?, name.clone());
                std::thread::spawn(move || {
                    std::thread::sleep(std::time::Duration::from_millis(1_000));
                    let place = Place { into: &into, name: &own, policy, synced };
                    staged.publish(root, size, &meta, &place)
                });
                let remains = Remains { into: self.into, transfer };
                Ok(Published { receipt, name, report: None, remains })",
            ),
        ],
        arguments: RECEIVERS,
    },
    Mutant {
        name: "end before parcel-end",
        replacements: &[(
            "crates/files/src/server.rs",
            "        let end = self.shared.rooms.conclude(event, &end).await?;
",
            "        if let Some(sealed) = sealed {
            self.shared.passages.end(transfer, End::Settled(Root(sealed.root.0), sealed.size));
            tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
        }
        let end = self.shared.rooms.conclude(event, &end).await?;
",
        )],
        arguments: KILLS,
    },
];
