//! A disk that loses power: what may be on it after any prefix of the recorded steps.
//!
//! What a process sees is `cached`; what is sure to survive is `durable`. Between the two, since a
//! file was last synced, the kernel may have written each 4 KiB page at any time and in any order, or
//! in part; it may have written the file's size, and names in folders, early or not at all.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    os::unix::fs::FileExt as _,
    path::Path,
};

use super::{Random, trace::Step};

const PAGE: usize = 4096;

/// Versions of one page that are remembered between two syncs; more are thinned out.
const MOST_VERSIONS: usize = 12;

/// When names become durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Folders {
    /// As on ext4: a sync that has metadata to write commits all earlier metadata with it. What is
    /// pending survives as a prefix.
    Journaled,
    /// As POSIX promises: only a sync of the folder. What is pending survives as a prefix per folder.
    Strict,
}

/// What becomes of pages that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// All lost: the disk is as it was synced.
    Lost,
    /// All written, the metadata too: as if only the process had died.
    Kept,
    /// Each is kept, lost or torn; kept with this chance in percent.
    Mixed(u64),
}

#[derive(Default)]
struct File {
    durable: Vec<u8>,
    cached: Vec<u8>,
    /// Since the last sync: what each touched page held after each write.
    versions: BTreeMap<usize, Vec<Vec<u8>>>,
    /// Since the last sync: sizes the file had after each change, and whether that cut it.
    sizes: Vec<(usize, bool)>,
}

type Id = usize;
type Names = BTreeMap<String, Id>;

#[derive(Default)]
struct Folder {
    durable: Names,
    cached: Names,
}

/// A change of names: all of it or nothing.
struct Change {
    folders: Vec<Id>,
    names: Vec<(Id, String, Option<Id>)>,
}

/// The disk after the steps that were played.
pub struct Disk {
    folders: HashMap<Id, Folder>,
    files: HashMap<Id, File>,
    pending: Vec<Change>,
    rule: Folders,
    next: Id,
}

const ROOT: Id = 0;

impl Disk {
    pub fn new(rule: Folders) -> Self {
        Self {
            folders: HashMap::from([(ROOT, Folder::default())]),
            files: HashMap::new(),
            pending: vec![],
            rule,
            next: 1,
        }
    }

    /// With what `image` holds, all of it durable.
    pub fn holding(rule: Folders, image: &Image) -> Self {
        let mut disk = Self::new(rule);
        for path in image.folders.iter().filter(|p| !p.is_empty()) {
            disk.play(&Step::Mkdir(path.clone()));
        }
        for (path, bytes) in &image.files {
            disk.play(&Step::Create(path.clone()));
            disk.play(&Step::Write { path: path.clone(), offset: 0, data: bytes.clone() });
        }
        disk.commit_names(|_| true);
        disk.files.values_mut().for_each(File::sync);
        disk
    }

    pub fn play(&mut self, step: &Step) {
        match step {
            Step::Create(path) => {
                self.next += 1;
                self.files.insert(self.next, File::default());
                self.change(&[(path, Some(self.next))]);
            }
            Step::Mkdir(path) => {
                self.next += 1;
                self.folders.insert(self.next, Folder::default());
                self.change(&[(path, Some(self.next))]);
            }
            Step::Truncate(path, size) => {
                if let Some(file) = self.file(path) {
                    file.resize(*size as usize);
                }
            }
            Step::Write { path, offset, data } => {
                if let Some(file) = self.file(path) {
                    file.write(*offset as usize, data);
                }
            }
            Step::Fsync(path) => self.sync(path, true),
            Step::Fdatasync(path) => self.sync(path, false),
            Step::Rename(from, to) => {
                let moved = self.find(from);
                self.change(&[(from, None), (to, moved)]);
            }
            Step::Unlink(path) | Step::Rmdir(path) => self.change(&[(path, None)]),
            Step::Ack(_) | Step::Start => {}
        }
    }

    fn find(&self, path: &str) -> Option<Id> {
        path.split('/')
            .filter(|p| !p.is_empty())
            .try_fold(ROOT, |at, name| self.folders.get(&at)?.cached.get(name).copied())
    }

    /// `None`: not a file that was created under our eyes, such as a socket.
    fn file(&mut self, path: &str) -> Option<&mut File> {
        let id = self.find(path)?;
        self.files.get_mut(&id)
    }

    fn change(&mut self, names: &[(&str, Option<Id>)]) {
        let mut change = Change { folders: vec![], names: vec![] };
        for (path, id) in names {
            let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
            let Some(folder) = self.find(parent) else { continue };
            let cached = &mut self.folders.get_mut(&folder).unwrap().cached;
            match id {
                Some(id) => drop(cached.insert(name.to_owned(), *id)),
                None => drop(cached.remove(name)),
            }
            change.folders.push(folder);
            change.names.push((folder, name.to_owned(), *id));
        }
        self.pending.push(change);
    }

    fn sync(&mut self, path: &str, whole: bool) {
        let Some(id) = self.find(path) else { return };
        let mut metadata = whole;
        if let Some(file) = self.files.get_mut(&id) {
            metadata |= !file.sizes.is_empty();
            file.sync();
        }
        match self.rule {
            Folders::Journaled if metadata => {
                self.commit_names(|_| true);
                self.files.values_mut().for_each(File::commit_cuts);
            }
            Folders::Journaled => {}
            Folders::Strict => self.commit_names(|c| c.folders.contains(&id)),
        }
    }

    fn commit_names(&mut self, which: impl Fn(&Change) -> bool) {
        let (done, left) = std::mem::take(&mut self.pending).into_iter().partition(|c| which(c));
        self.pending = left;
        for change in &done {
            for (folder, name, id) in &change.names {
                set(&mut self.folders.get_mut(folder).unwrap().durable, name, *id);
            }
        }
    }

    /// One of the states that may be found after a power cut now.
    pub fn cut(&self, pages: Pages, random: &mut Random) -> Image {
        let mut folders: HashMap<Id, Names> =
            self.folders.iter().map(|(id, f)| (*id, f.durable.clone())).collect();
        for change in self.surviving(pages, random) {
            for (folder, name, id) in &change.names {
                set(folders.get_mut(folder).unwrap(), name, *id);
            }
        }
        let mut image = Image::default();
        self.collect(ROOT, "", &folders, pages, random, &mut image);
        image
    }

    fn surviving(&self, pages: Pages, random: &mut Random) -> Vec<&Change> {
        let most = self.pending.len() as u64;
        match (pages, self.rule) {
            (Pages::Lost, _) => vec![],
            (Pages::Kept, _) => self.pending.iter().collect(),
            (Pages::Mixed(_), Folders::Journaled) => {
                self.pending.iter().take(random.below(most + 1) as usize).collect()
            }
            (Pages::Mixed(_), Folders::Strict) => {
                let mut limits: HashMap<Id, u64> = HashMap::new();
                let mut survives = |c: &&Change| {
                    c.folders.iter().all(|f| {
                        let left = limits.entry(*f).or_insert_with(|| random.below(most + 1));
                        let kept = *left > 0;
                        *left = left.saturating_sub(1);
                        kept
                    })
                };
                self.pending.iter().filter(|c| survives(c)).collect()
            }
        }
    }

    fn collect(
        &self,
        at: Id,
        path: &str,
        names: &HashMap<Id, Names>,
        pages: Pages,
        random: &mut Random,
        image: &mut Image,
    ) {
        image.folders.push(path.to_owned());
        for (name, id) in &names[&at] {
            let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
            match self.files.get(id) {
                Some(file) => drop(image.files.insert(path, file.cut(pages, random))),
                None => self.collect(*id, &path, names, pages, random, image),
            }
        }
    }
}

fn set(names: &mut Names, name: &str, id: Option<Id>) {
    match id {
        Some(id) => drop(names.insert(name.to_owned(), id)),
        None => drop(names.remove(name)),
    }
}

impl File {
    fn write(&mut self, offset: usize, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        let end = offset + data.len();
        if end > self.cached.len() {
            self.cached.resize(end, 0);
            self.sizes.push((end, false));
        }
        self.cached[offset..end].copy_from_slice(data);
        self.touch(offset, end);
    }

    fn touch(&mut self, from: usize, to: usize) {
        for page in from / PAGE..=(to - 1) / PAGE {
            let content = page_of(&self.cached, page);
            let versions = self.versions.entry(page).or_default();
            versions.push(content);
            if versions.len() > MOST_VERSIONS {
                versions.remove(MOST_VERSIONS / 2);
            }
        }
    }

    fn resize(&mut self, size: usize) {
        let before = self.cached.len();
        self.cached.resize(size, 0);
        self.sizes.push((size, size < before));
        if size < before {
            // The rest of the last page is zeroed; pages behind it are gone.
            let whole = size.div_ceil(PAGE);
            self.versions.retain(|page, _| *page < whole);
            if !size.is_multiple_of(PAGE) {
                self.touch(size - 1, size);
            }
        }
    }

    fn sync(&mut self) {
        self.durable.clone_from(&self.cached);
        self.versions.clear();
        self.sizes.clear();
    }

    /// A cut that another file's sync has committed: what was behind it never comes back.
    fn commit_cuts(&mut self) {
        if let Some(last) = self.sizes.iter().rposition(|(_, cuts)| *cuts) {
            for (size, cuts) in self.sizes.drain(..=last) {
                if cuts {
                    self.durable.truncate(size);
                }
            }
        }
    }

    fn cut(&self, pages: Pages, random: &mut Random) -> Vec<u8> {
        let percent = match pages {
            Pages::Lost => return self.durable.clone(),
            Pages::Kept => return self.cached.clone(),
            Pages::Mixed(percent) => percent,
        };
        let mut out = self.durable.clone();
        let sizes = random.below(self.sizes.len() as u64 + 1) as usize;
        let mut size = out.len();
        for (changed, cuts) in &self.sizes[..sizes] {
            size = *changed;
            if *cuts {
                out.truncate(size);
            }
        }
        out.resize(size, 0);
        for (page, versions) in &self.versions {
            let Some(there) = out.get_mut(page * PAGE..) else { continue };
            let there_length = there.len().min(PAGE);
            let there = &mut there[..there_length];
            let version = &versions[random.below(versions.len() as u64) as usize];
            let kept = match random.below(100) {
                n if n < percent => PAGE,
                n if n < percent + (100 - percent) / 2 => 0,
                // Torn: its beginning is new, or (a sector is written whole) new by sectors.
                n if n.is_multiple_of(2) => random.below(PAGE as u64) as usize,
                _ => 512 * random.below(8) as usize,
            };
            let n = kept.min(there.len()).min(version.len());
            there[..n].copy_from_slice(&version[..n]);
        }
        out
    }
}

fn page_of(bytes: &[u8], page: usize) -> Vec<u8> {
    bytes[page * PAGE..bytes.len().min((page + 1) * PAGE)].to_vec()
}

/// What a folder holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Parents first; the folder itself is `""`.
    pub folders: Vec<String>,
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Image {
    /// Puts it where nothing is yet.
    pub fn write(&self, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for folder in self.folders.iter().filter(|f| !f.is_empty()) {
            fs::create_dir(to.join(folder)).unwrap();
        }
        for (path, bytes) in &self.files {
            let file = fs::File::create(to.join(path)).unwrap();
            file.set_len(bytes.len() as u64).unwrap();
            // Zeros stay holes: a segment is mostly those.
            for (page, content) in bytes.chunks(PAGE).enumerate() {
                if content.iter().any(|b| *b != 0) {
                    file.write_all_at(content, (page * PAGE) as u64).unwrap();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &str, offset: u64, data: &[u8]) -> Step {
        Step::Write { path: path.into(), offset, data: data.to_vec() }
    }

    fn played(rule: Folders, steps: &[Step]) -> Disk {
        let mut disk = Disk::new(rule);
        steps.iter().for_each(|s| disk.play(s));
        disk
    }

    fn states(disk: &Disk) -> Vec<Image> {
        let mut random = Random::new(7);
        (0..400).map(|_| disk.cut(Pages::Mixed(40), &mut random)).collect()
    }

    #[test]
    fn what_was_synced_stays_and_what_was_not_may_go() {
        let steps = [
            Step::Create("a".into()),
            write("a", 0, &[1; 5000]),
            Step::Fsync("a".into()),
            Step::Fsync("".into()),
            write("a", 4096, &[2; 5000]),
        ];
        for rule in [Folders::Journaled, Folders::Strict] {
            let disk = played(rule, &steps);
            let all: Vec<Vec<u8>> = states(&disk).iter().map(|i| i.files["a"].clone()).collect();
            assert!(all.iter().all(|a| a[..4096] == [1; 4096] && a.len() >= 5000));
            assert!(all.iter().any(|a| a.len() == 5000 && a[4096..] == [1; 904]));
            assert!(all.iter().any(|a| a.len() == 9096 && a[8192..] == [2; 904]));
            assert!(all.iter().any(|a| a.len() == 9096 && a[8192..] == [0; 904]));
            assert!(all.iter().any(|a| a[4096..5000].contains(&1) && a[4096..5000].contains(&2)));
        }
    }

    #[test]
    fn names_follow_the_rule() {
        let steps = [
            Step::Create("a".into()),
            write("a", 0, b"a"),
            Step::Fsync("a".into()),
            Step::Rename("a".into(), "b".into()),
            Step::Create("c".into()),
            write("c", 0, b"c"),
            Step::Fdatasync("c".into()),
        ];
        let journaled = played(Folders::Journaled, &steps).cut(Pages::Lost, &mut Random::new(1));
        assert_eq!(journaled.files.keys().collect::<Vec<_>>(), ["b", "c"]);
        let strict = played(Folders::Strict, &steps);
        assert!(strict.cut(Pages::Lost, &mut Random::new(1)).files.is_empty());
        for state in states(&strict) {
            // A rename is whole: the file never has two names.
            assert!(!(state.files.contains_key("a") && state.files.contains_key("b")), "{state:?}");
        }
    }

    #[test]
    fn what_was_cut_off_and_committed_does_not_come_back() {
        let steps = [
            Step::Create("a".into()),
            write("a", 0, &[1; 5000]),
            Step::Fsync("a".into()),
            Step::Truncate("a".into(), 10),
            Step::Create("b".into()),
            Step::Fsync("b".into()),
            write("a", 10, &[2; 10]),
        ];
        for state in states(&played(Folders::Journaled, &steps)) {
            let a = &state.files["a"];
            assert!(a.len() <= 20 && !a[10..].contains(&1), "{a:?}");
        }
        let strict = states(&played(Folders::Strict, &steps));
        assert!(strict.iter().any(|s| s.files.get("a").is_some_and(|a| a.len() == 5000)));
    }
}
