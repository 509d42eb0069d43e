//! What a ledger holds, read from its journal while the service runs.

use std::{collections::BTreeMap, path::Path};

use gatelog::{
    ledger::{
        entry::{Entry, Kind, ReportData, VerdictData},
        index::Index,
        summary::Summary,
    },
    store::journal::{frame::BodyRecord, reader::Groups},
    verdict::{Decision, Verdict},
};
use serde_json::Value;

pub struct View {
    pub entries: Vec<Entry>,
    index: Index,
    /// By the number of their entry.
    verdicts: BTreeMap<u64, BodyRecord>,
}

impl View {
    /// `data` is the folder of the ledger. Entries still being written are not seen.
    pub fn read(data: &Path) -> Self {
        let mut view = Self { entries: vec![], index: Index::default(), verdicts: BTreeMap::new() };
        let Some(mut groups) = Groups::open(&data.join("journal")).unwrap() else { return view };
        while let Some(group) = groups.next_group().unwrap() {
            for e in &group.entries {
                let entry = Entry::parse(&e.raw).unwrap();
                view.index.apply(entry.seq, &Summary::of(&entry, None));
                let body = e.bodies.iter().find(|b| entry.kind == Kind::Verdict && b.name == "verdict");
                view.verdicts.extend(body.map(|b| (entry.seq, b.clone())));
                view.entries.push(entry);
            }
        }
        view
    }

    /// The entries of a delivery: more than one if the GUID came with several bodies.
    pub fn deliveries(&self, guid: &str) -> Vec<&Entry> {
        let key = format!("delivery:{guid}");
        let again = format!("{key}#");
        self.entries.iter().filter(|e| e.key == key || e.key.starts_with(&again)).collect()
    }

    pub fn verdict_of(&self, event: u64) -> Option<(u64, VerdictData)> {
        let seq = self.index.verdict_of(event)?;
        let data = self.entries[usize::try_from(seq).unwrap()].data.clone();
        Some((seq, serde_json::from_value(data).unwrap()))
    }

    /// Decision of the delivery with this GUID.
    pub fn decision(&self, guid: &str) -> Option<Decision> {
        let event = self.deliveries(guid).first()?.seq;
        Some(self.verdict_of(event)?.1.decision)
    }

    /// What the verdict on the delivery with this GUID says: its reason, then its findings.
    pub fn reasons(&self, guid: &str) -> Option<Vec<String>> {
        let (seq, _) = self.verdict_of(self.deliveries(guid).first()?.seq)?;
        let verdict: Verdict = serde_json::from_slice(&self.verdicts[&seq].bytes().unwrap()?).unwrap();
        let findings = verdict.controls.into_iter().flat_map(|c| c.findings).map(|f| f.msg);
        Some(std::iter::once(verdict.reason).chain(findings).collect())
    }

    pub fn flags(&self, seq: u64) -> Vec<Value> {
        let entry = &self.entries[usize::try_from(seq).unwrap()];
        entry.data["flags"].as_array().cloned().unwrap_or_default()
    }

    /// Events without verdict, and verdicts to show that no report covers.
    pub fn unfinished(&self) -> (Vec<u64>, Vec<u64>) {
        (self.index.unjudged(), self.index.unreported())
    }

    pub fn of_kind(&self, kind: &Kind) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |e| e.kind == *kind)
    }

    pub fn reports(&self) -> impl Iterator<Item = ReportData> {
        self.of_kind(&Kind::Report).map(|e| serde_json::from_value(e.data.clone()).unwrap())
    }
}
