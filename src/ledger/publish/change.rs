//! The keys of a log: recorded before they sign, changed without a gap.

use std::sync::Arc;

use serde_json::json;

use super::{PublishError, Publisher};
use crate::{
    event::Subject,
    ledger::{
        entry::{Draft, Key, Kind},
        key::Keys,
        note::Verifier,
    },
};

impl Publisher {
    /// A power cut before: the keys stand in their file, and the next start records them.
    pub(super) async fn announce(&self) -> Result<(), PublishError> {
        let keys = self.keys();
        let mut before = None;
        let mut drafts = vec![];
        for key in &keys {
            let data = json!({"event": "active", "vkey": key.to_string(), "beside": before});
            drafts.push(draft(format!("key:active:{:08x}", key.id()), data));
            before = Some(key.to_string());
        }
        self.ledger.append(drafts).await?;
        Ok(())
    }

    /// A new key beside the old one: recorded, and both sign from now on.
    ///
    /// # Errors
    /// A change is under way, or something cannot be written. Where the key is written but not recorded,
    /// the next start records it.
    pub async fn rotate(self: &Arc<Self>) -> Result<Verifier, PublishError> {
        let _one = self.changing.lock().await;
        let keys = self.state().keys.rotated().map_err(PublishError::Refused)?;
        self.write_keys(&keys)?;
        self.state().keys = keys;
        // Both sign from here on; a quorum of witnesses that is missed does not change that.
        self.announce_and_publish().await?;
        self.keys().pop().ok_or_else(|| PublishError::Failed("there is no key".into()))
    }

    /// The end of a change: the old key signs no more. Verifiers that did not look meanwhile must be told
    /// the new one.
    ///
    /// # Errors
    /// No change is under way, something cannot be written, or nothing may be published (the end of a key is
    /// published under that key).
    pub async fn finish_rotation(self: &Arc<Self>) -> Result<Verifier, PublishError> {
        let _one = self.changing.lock().await;
        // Where the beginning of the change could not be recorded, it is now.
        self.announce().await?;
        let keys = self.state().keys.finished().map_err(PublishError::Refused)?;
        let old = self.keys().swap_remove(0);
        let data = json!({"event": "retired", "vkey": old.to_string()});
        // A power cut after: the old key still signs, and asking again ends it.
        self.ledger.append(vec![draft(format!("key:retired:{:08x}", old.id()), data)]).await?;
        // Whoever follows sees it under the old key.
        self.publish().await?;
        self.write_keys(&keys)?;
        self.state().keys = keys;
        self.publish_or_withhold().await?;
        Ok(old)
    }

    fn write_keys(&self, keys: &Keys) -> Result<(), PublishError> {
        let path = &self.place.key_file;
        keys.write(path).map_err(|e| PublishError::Failed(format!("writing {}: {e}", path.display())))
    }
}

fn draft(key: String, data: serde_json::Value) -> Draft {
    Draft {
        kind: Kind::Key,
        subject: Subject::NONE,
        key: Key::Plain(key),
        refs: vec![],
        bodies: vec![],
        data,
    }
}
