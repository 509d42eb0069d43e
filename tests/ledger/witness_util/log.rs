//! A ledger that signs and has its checkpoints cosigned, without the service around it.

use std::{path::Path, sync::Arc};

use gatelog::{
    ledger::{
        Ledger,
        cosignature::Cosigner,
        key::Keys,
        publish::{Place, Publisher},
        quorum::Policy,
        witness::Witnesses,
    },
    outbound::{Outbound, Proxies},
    time::Time,
};

use super::ORIGIN;
use crate::ledger_util::delivery;

/// A ledger that signs, in this process.
pub struct Log {
    pub ledger: Ledger,
    pub publisher: Arc<Publisher>,
}

pub fn place(dir: &Path) -> Place {
    Place { dir: dir.join("data"), origin: ORIGIN.into(), key_file: dir.join("log.key") }
}

/// Opens or makes it; its key lies in `dir`.
pub fn open(dir: &Path, witnesses: Option<Witnesses>) -> Result<Log, String> {
    let place = place(dir);
    if !place.key_file.exists() {
        Keys::new(ORIGIN).unwrap().write(&place.key_file).unwrap();
    }
    let (ledger, _) = Ledger::open(&place.dir, Time::now).map_err(|e| e.to_string())?;
    let publisher = Publisher::open(ledger.clone(), place, witnesses).map_err(|e| e.to_string())?;
    Ok(Log { ledger, publisher })
}

impl Log {
    pub async fn grow(&self, name: &str, to: u64) {
        while self.ledger.head().size < to {
            let n = self.ledger.head().size;
            self.ledger.append(vec![delivery(&format!("{name}-{n}"), "{}")]).await.unwrap();
        }
    }

    pub fn trouble(&self, of: &str) -> Option<String> {
        self.publisher.witnesses().into_iter().find(|w| w.name == of).unwrap().trouble
    }
}

pub fn vkey(dir: &Path) -> String {
    Keys::read(&dir.join("log.key"), ORIGIN).unwrap().verifiers().next().unwrap().to_string()
}

/// `need` (`all`, `any`, a number) of these.
pub fn policy(who: &[(&Cosigner, &str)], need: &str) -> String {
    let line = |(n, (key, url)): (usize, &(&Cosigner, &str))| format!("witness w{n} {key} {url}\n");
    let lines: String = who.iter().enumerate().map(line).collect();
    let names: String = (0..who.len()).map(|n| format!(" w{n}")).collect();
    format!("{lines}group both {need}{names}\nquorum both\n")
}

pub fn asking(who: &[(&Cosigner, &str)], need: &str, only_with_quorum: bool) -> Option<Witnesses> {
    let policy = Policy::parse(policy(who, need).as_bytes()).unwrap();
    let outbound = Outbound::new(None, &Proxies::default()).unwrap();
    Some(Witnesses::new(policy, only_with_quorum, &outbound).unwrap())
}
