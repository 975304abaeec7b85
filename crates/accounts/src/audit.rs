//! Whether a store's users, devices and invites fit together. For `hikyaku doctor`: it reads, and changes nothing.

use std::collections::{HashMap, HashSet};

use hikyaku_storage::{Key, Store, StoreError, Versioned};
use hikyaku_wire::enroll::UserId;

use crate::name::UserName;
use crate::record::{DeviceRecord, InviteRecord, UserRecord, decode, last, name_key, user_device_key};

const PAGE: usize = 512;

/// What an audit came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Users, those who were revoked included.
    pub users: u64,
    /// Devices.
    pub devices: u64,
    /// Records that cannot be read, or do not fit together.
    pub damage: Vec<String>,
    /// What belongs to nothing that is there.
    pub orphans: Vec<String>,
}

/// Looks at every record of accounts.
pub async fn audit(store: &dyn Store) -> Result<Audit, StoreError> {
    let mut audit = Audit::default();
    let mut users = HashMap::new();
    for (key, found) in all(store, "u/").await? {
        match (last::<16>(&key), decode::<UserRecord>("user", &found)) {
            (Ok(id), Ok(user)) => drop(users.insert(UserId(id), user)),
            _ => audit.damage.push(format!("the record of a user cannot be read ({key})")),
        }
    }
    audit.users = users.len() as u64;
    for (id, user) in &users {
        let name = user.name.parse::<UserName>().ok().map(|name| name_key(&name.skeleton()));
        let named = match name {
            Some(name) => store.get(&name).await?.is_some_and(|found| found.value == id.0.as_slice()),
            None => false,
        };
        if !named {
            audit
                .damage
                .push(format!("the name '{}' does not lead to its user", hikyaku::printable(&user.name)));
        }
    }
    for (key, found) in all(store, "n/").await? {
        let known = found.value.as_ref().try_into().is_ok_and(|id| users.contains_key(&UserId(id)));
        if !known {
            audit.orphans.push(format!("the name {key} leads to no user"));
        }
    }
    audit.devices(store, &users).await?;
    for (key, found) in all(store, "i/").await? {
        if decode::<InviteRecord>("invite", &found).is_err() {
            audit.damage.push(format!("the record of an invite cannot be read ({key})"));
        }
    }
    Ok(audit)
}

impl Audit {
    async fn devices(
        &mut self,
        store: &dyn Store,
        users: &HashMap<UserId, UserRecord>,
    ) -> Result<(), StoreError> {
        let mut listed = HashSet::new();
        for (key, found) in all(store, "d/").await? {
            self.devices += 1;
            let (Ok(id), Ok(device)) = (last::<32>(&key), decode::<DeviceRecord>("device", &found)) else {
                self.damage.push(format!("the record of a device cannot be read ({key})"));
                continue;
            };
            let name = hikyaku::printable(&device.name).to_string();
            match users.get(&device.user) {
                None => self.damage.push(format!("the device '{name}' belongs to no user")),
                Some(user) if user.revoked_ms.is_some() => {
                    self.damage.push(format!("the device '{name}' is known, but its user was revoked"));
                }
                Some(_) => {}
            }
            let key = user_device_key(device.user, Some(hikyaku_wire::enroll::DeviceId(id)));
            if store.get(&key).await?.is_none() {
                self.damage.push(format!("the device '{name}' is missing in its user's list"));
            }
            listed.insert(key);
        }
        for (key, _) in all(store, "ud/").await? {
            if !listed.contains(&key) {
                self.orphans.push(format!("a user's list names a device that is not there ({key})"));
            }
        }
        Ok(())
    }
}

async fn all(store: &dyn Store, prefix: &str) -> Result<Vec<(Key, Versioned)>, StoreError> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = store.scan(Key::from(prefix), after.take(), PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok(found) };
        after = Some(last.clone());
        found.extend(page);
    }
}
