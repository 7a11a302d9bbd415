//! Compiled components on disk, for the owner only: loading one runs what it says.
//!
//! A file's name holds the key (source, wasmtime and its settings) and the checksum of its content, so an entry that
//! was damaged, cut or made by another engine is not loaded but compiled again. A checksum and no digest: nobody but
//! the owner can write here, and 40 MB are hashed ten times as long as they are read.
//!
//! They are read once, and then whenever the file was changed in any way. While it was not, it is loaded at once, as
//! any program is, and summed up again beside its first deliveries.

use std::fs::{self, DirBuilder, File, FileTimes, Metadata, Permissions};
use std::hash::{BuildHasher as _, Hash, Hasher};
use std::io::{self, Read as _, Write as _};
use std::ops::Range;
use std::os::unix::fs::{
    DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use foldhash::fast::FixedState;
use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

/// Bytes that all entries together may have; the ones used longest ago go first.
const MAX_BYTES: u64 = 2 << 30;
const EXTENSION: &str = "cwasm";
/// Of a note that compiling a source exceeded a limit.
const REFUSAL: &str = "refused";
/// Of a note which digest a file of this checksum has.
const KNOWN: &str = "known";
/// Of a note what an entry was like when its checksum was right. Its own time is that of the entry's last use.
const CHECKED: &str = "checked";
/// How long a note of a refusal counts: a busy day must not decide for ever.
const REFUSAL_AGE: Duration = Duration::from_secs(86_400);
/// Bytes of an entry that are read at once.
const PIECE: u64 = 256 << 10;
/// Bytes whose checksum takes longer than it takes to start a thread.
const WORTH_A_THREAD: u64 = 2 << 20;
/// Longest such note that is read, in bytes.
const MAX_REFUSAL: u64 = 1_000;

/// The directory of a sandbox.
pub(crate) struct Cache {
    directory: PathBuf,
    /// Digest of everything but the source that decides what machine code comes out.
    flavour: [u8; 32],
}

impl Cache {
    /// Makes the directory, or makes it the owner's alone.
    pub(crate) fn open(directory: &Path, engine: &Engine) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        // Fails where it is somebody else's.
        fs::set_permissions(directory, Permissions::from_mode(0o700))?;
        let mut flavour = Hashing(Sha256::new());
        crate::wasmtime_version().hash(&mut flavour);
        engine.precompile_compatibility_hash().hash(&mut flavour);
        Ok(Self { directory: directory.to_owned(), flavour: flavour.0.finalize().into() })
    }

    /// The component of a source, if it was compiled before by this engine and is undamaged.
    pub(crate) fn find(&self, engine: &Engine, source: &str) -> Option<Component> {
        self.entries(source).into_iter().find_map(|(path, sum)| match load(engine, &path, &sum) {
            Ok(component) => Some(component),
            Err(why) => {
                tracing::warn!(file.path = %path.display(), "a cached plugin is compiled again: {why}");
                forget_entry(&path);
                None
            }
        })
    }

    /// Sums up what was loaded because nobody had changed it: a disk may have lost some of it by itself.
    pub(crate) fn check(&self, source: &str) {
        for (path, sum) in self.entries(source) {
            if let Err(why) = verify(&path, &sum) {
                tracing::error!(
                    file.path = %path.display(),
                    "a cached plugin that runs is not what was compiled: {why}; touch its module, and look after the disk"
                );
                forget_entry(&path);
            }
        }
    }

    /// The entries of a source, with the checksums that they are to have: one, but for chance.
    fn entries(&self, source: &str) -> Vec<(PathBuf, String)> {
        let prefix = format!("{}-", self.key(source));
        let Ok(files) = fs::read_dir(&self.directory) else { return Vec::new() };
        files
            .filter_map(|file| {
                let path = file.ok()?.path();
                let name = path.file_name()?.to_str()?;
                let sum = name.strip_prefix(&prefix)?.strip_suffix(&format!(".{EXTENSION}"))?;
                let sum = sum.to_owned();
                Some((path, sum))
            })
            .collect()
    }

    /// The digest of the file that had this checksum, which is had ten times as fast. No proof: who wants to can make a
    /// file with the checksum of another.
    pub(crate) fn known(&self, sum: &str) -> Option<String> {
        let hash = fs::read_to_string(self.known_at(sum)).ok()?;
        (hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit())).then_some(hash)
    }

    /// Notes the digest of a file of this checksum.
    pub(crate) fn note(&self, sum: &str, hash: &str) {
        let path = self.known_at(sum);
        if let Err(error) = write(&path, hash.as_bytes()) {
            tracing::debug!(file.path = %path.display(), "a plugin's digest could not be noted: {error}");
        }
    }

    fn known_at(&self, sum: &str) -> PathBuf {
        self.directory.join(format!("{sum}.{KNOWN}"))
    }

    /// Keeps compiled code and loads it from where it lies, so that its pages can be shared and given back.
    pub(crate) fn keep(
        &self,
        engine: &Engine,
        source: &str,
        code: &[u8],
    ) -> Result<Component, String> {
        let sum = checksum(Content::Memory(code)).map_err(|error| error.to_string())?;
        let path = self.directory.join(format!("{}-{sum}.{EXTENSION}", self.key(source)));
        write(&path, code).map_err(|error| {
            format!(
                "the cache directory {} cannot be written ({error}); make room or make it writable",
                self.directory.display()
            )
        })?;
        prune(&self.directory, &path, MAX_BYTES);
        load(engine, &path, &sum)
    }

    fn key(&self, source: &str) -> String {
        let mut key = Sha256::new();
        key.update(self.flavour);
        key.update(source.as_bytes());
        hex(&key.finalize())
    }

    /// Notes that compiling a source exceeded a limit, so that a restart does not try it again at once.
    pub(crate) fn refuse(&self, source: &str, limit: &str) {
        let path = self.refusal(source);
        if let Err(error) = write(&path, limit.as_bytes()) {
            tracing::warn!(file.path = %path.display(), "a refused plugin could not be noted: {error}");
        }
    }

    /// The limit that compiling a source exceeded within the last day, on this version of wasmtime.
    pub(crate) fn find_refusal(&self, source: &str) -> Option<String> {
        let path = self.refusal(source);
        let file = File::open(&path).ok()?;
        let written = file.metadata().and_then(|about| about.modified()).ok()?;
        if age(written) > REFUSAL_AGE {
            forget(&path);
            return None;
        }
        let mut limit = String::new();
        file.take(MAX_REFUSAL).read_to_string(&mut limit).ok()?;
        (!limit.is_empty()).then_some(limit)
    }

    fn refusal(&self, source: &str) -> PathBuf {
        self.directory.join(format!("{}.{REFUSAL}", self.key(source)))
    }
}

/// Puts a file for the owner alone in its place, whole or not at all.
fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary =
        path.with_extension(format!("{}.tmp", uuid::Uuid::from_u128(rand::random()).simple()));
    let written = (|| {
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    })();
    if written.is_err() {
        forget(&temporary);
    }
    written
}

/// Removes what was used longest ago until the rest has at most `most` bytes. `kept` stays in any case.
fn prune(directory: &Path, kept: &Path, most: u64) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    let mut files: Vec<(SystemTime, u64, PathBuf)> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let (about, path) = (entry.metadata().ok()?, entry.path());
            let noted = path.extension().is_some_and(|is| is == EXTENSION).then(|| {
                fs::metadata(path.with_extension(CHECKED)).and_then(|note| note.modified()).ok()
            });
            let used = noted.flatten().max(about.modified().ok())?;
            Some((used, about.len(), path))
        })
        .collect();
    files.sort();
    let mut total: u64 = files.iter().map(|(_, size, _)| size).sum();
    for (_, size, path) in files {
        if total <= most {
            return;
        }
        if path != kept {
            forget_entry(&path);
            total = total.saturating_sub(size);
        }
    }
}

/// Loads an entry after checking that it is the owner's and was whole when somebody last changed it.
fn load(engine: &Engine, path: &Path, sum: &str) -> Result<Component, String> {
    let about = fs::symlink_metadata(path).map_err(|error| error.to_string())?;
    let owner = path.parent().and_then(|directory| fs::metadata(directory).ok()).map(|d| d.uid());
    if !about.is_file() || about.mode() & 0o077 != 0 || Some(about.uid()) != owner {
        return Err("it is not a file of its owner alone".to_owned());
    }
    let note = path.with_extension(CHECKED);
    let now = identity(&about);
    if fs::read_to_string(&note).is_ok_and(|then| then == now) {
        touch(&note);
    } else {
        verify(path, sum)?;
        if let Err(error) = write(&note, now.as_bytes()) {
            tracing::debug!(file.path = %note.display(), "what was checked could not be noted: {error}");
        }
    }
    deserialize(engine, path).map_err(|error| format!("{error:#}"))
}

/// Reads an entry through: whether it has the checksum that it is to have.
fn verify(path: &Path, sum: &str) -> Result<(), String> {
    let found = File::open(path).and_then(|file| {
        let length = file.metadata()?.len();
        checksum(Content::File(&file, length))
    });
    match found {
        Ok(found) if found == sum => Ok(()),
        Ok(_) => Err("it is damaged".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// What is another after any change of a file: its place, its length and, to the nanosecond, the time of the last change
/// of its content, name or rights, which no program can set.
fn identity(about: &Metadata) -> String {
    let changed = (about.ctime(), about.ctime_nsec());
    format!("{:x} {:x} {} {}.{:09}", about.dev(), about.ino(), about.len(), changed.0, changed.1)
}

/// Where bytes for a checksum are.
#[derive(Clone, Copy)]
pub(crate) enum Content<'a> {
    Memory(&'a [u8]),
    /// With its length.
    File(&'a File, u64),
}

impl Content<'_> {
    fn len(self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File(_, length) => length,
        }
    }

    /// The checksum of a part. A file is read a piece at a time: a buffer for the whole would cost more than the sum.
    fn sum(self, mut part: Range<u64>) -> io::Result<u64> {
        let mut sum = FixedState::default().build_hasher();
        let mut buffer = Vec::new();
        while !part.is_empty() {
            let piece = (part.end - part.start).min(PIECE);
            let place = |at: u64| usize::try_from(at).map_err(io::Error::other);
            let (from, size) = (place(part.start)?, place(piece)?);
            match self {
                Self::Memory(bytes) => {
                    sum.write(bytes.get(from..from + size).ok_or(io::ErrorKind::UnexpectedEof)?);
                }
                Self::File(file, _) => {
                    buffer.resize(size, 0);
                    file.read_exact_at(&mut buffer, part.start)?;
                    sum.write(&buffer);
                }
            }
            part.start += piece;
        }
        Ok(sum.finish())
    }
}

/// Length and checksum. Both halves at once where there is much: it stands between a module and its first delivery.
pub(crate) fn checksum(content: Content<'_>) -> io::Result<String> {
    let length = content.len();
    let (first, second) = (0..length / 2, length / 2..length);
    let (first, second) = match length < WORTH_A_THREAD {
        true => (content.sum(first), content.sum(second)),
        false => std::thread::scope(|scope| {
            let second = scope.spawn(|| content.sum(second));
            let gone = |_panic| Err(io::Error::other("the thread that sums it up panicked"));
            (content.sum(first), second.join().unwrap_or_else(gone))
        }),
    };
    let mut both = FixedState::default().build_hasher();
    both.write_u64(first?);
    both.write_u64(second?);
    Ok(format!("{length:x}-{:016x}", both.finish()))
}

/// The one place where machine code comes from a file.
#[expect(
    unsafe_code,
    reason = "the file was written by `keep`, its checksum is checked, and only its owner, who runs this process, can \
              write it or replace it; wasmtime itself refuses files of another version or other settings"
)]
fn deserialize(engine: &Engine, path: &Path) -> wasmtime::Result<Component> {
    // SAFETY: as said above; the mapping is private and entries are replaced by rename, never written in place.
    unsafe { Component::deserialize_file(engine, path) }
}

/// Notes that an entry was used, for `prune`, by the time of its note. A failure only makes it look older.
#[expect(
    clippy::disallowed_methods,
    reason = "the file system's clock, beside nothing of the queue's"
)]
fn touch(path: &Path) {
    let now = FileTimes::new().set_modified(SystemTime::now());
    let touched = File::options().write(true).open(path).and_then(|file| file.set_times(now));
    if let Err(error) = touched {
        tracing::debug!(file.path = %path.display(), "a cached plugin could not be touched: {error}");
    }
}

/// How long ago a file was written; nothing where the clock went back since.
#[expect(
    clippy::disallowed_methods,
    reason = "the file system's clock, beside nothing of the queue's"
)]
fn age(written: SystemTime) -> Duration {
    SystemTime::now().duration_since(written).unwrap_or_default()
}

/// Removes an entry and what is noted of it.
fn forget_entry(path: &Path) {
    let note = path.with_extension(CHECKED);
    if note != path && note.exists() {
        forget(&note);
    }
    forget(path);
}

fn forget(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::debug!(file.path = %path.display(), "a cached plugin could not be removed: {error}");
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

/// SHA-256 as the hasher that wasmtime's settings write themselves to.
struct Hashing(Sha256);

impl Hasher for Hashing {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(directory: &Path) -> Cache {
        Cache { directory: directory.to_owned(), flavour: [7; 32] }
    }

    /// A file of ten bytes, last changed in this second of 1970.
    fn put(directory: &Path, name: &str, second: u64) -> PathBuf {
        let path = directory.join(name);
        let file = File::create(&path).unwrap();
        file.set_len(10).unwrap();
        let used = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        file.set_times(FileTimes::new().set_modified(used)).unwrap();
        path
    }

    #[test]
    fn what_was_used_longest_ago_goes_first_and_the_newest_stays() {
        let directory = tempfile::tempdir().unwrap();
        let put = |name, second| put(directory.path(), name, second);
        let (old, kept, new) = (put("old", 2), put("kept", 1), put("new", 3));
        prune(directory.path(), &kept, 20);
        assert_eq!([&old, &kept, &new].map(|path| path.exists()), [false, true, true]);
        prune(directory.path(), &kept, 0);
        assert_eq!([&kept, &new].map(|path| path.exists()), [true, false]);
    }

    #[test]
    fn an_entry_was_used_when_its_note_was_touched() {
        let directory = tempfile::tempdir().unwrap();
        let put = |name, second| put(directory.path(), name, second);
        let (used, idle) = (put("used.cwasm", 1), put("idle.cwasm", 2));
        let note = put("used.checked", 0);
        touch(&note);
        prune(directory.path(), Path::new(""), 20);
        assert_eq!([&used, &note, &idle].map(|path| path.exists()), [true, true, false]);
    }

    #[test]
    fn a_checksum_is_of_every_byte_and_of_the_length() {
        let sum = |content: &[u8]| checksum(Content::Memory(content)).unwrap();
        for size in [PIECE + 1, WORTH_A_THREAD + 1] {
            let content = vec![7; size.try_into().unwrap()];
            let whole = sum(&content);
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&content).unwrap();
            assert_eq!(checksum(Content::File(&file, size)).unwrap(), whole);
            assert!(checksum(Content::File(&file, size + 1)).is_err(), "it was cut");
            let last = content.len() - 1;
            for at in [0, last / 2, last / 2 + 1, last] {
                let mut damaged = content.clone();
                damaged[at] ^= 1;
                assert_ne!(sum(&damaged), whole);
            }
            assert_ne!(sum(&content[1..]), whole);
        }
        assert!(sum(&[]).starts_with("0-"));
    }

    #[test]
    fn a_known_digest_is_that_of_the_last_file_with_this_checksum() {
        let directory = tempfile::tempdir().unwrap();
        let cache = cache(directory.path());
        let sum_of = |content| checksum(Content::Memory(content)).unwrap();
        let (sum, hash) = (sum_of(&[7; 9]), "ab".repeat(32));
        assert_eq!(cache.known(&sum), None);
        cache.note(&sum, &hash);
        assert_eq!(cache.known(&sum), Some(hash.clone()));
        assert_eq!(cache.known(&sum_of(&[7; 8])), None, "another file");
        cache.note(&sum, "../../etc/passwd");
        assert_eq!(cache.known(&sum), None, "no digest");
    }

    #[test]
    fn an_entry_is_read_through_again_after_any_change_and_gone_when_a_disk_lost_some() {
        let directory = tempfile::tempdir().unwrap();
        let cache = cache(directory.path());
        let sum = checksum(Content::Memory(b"code")).unwrap();
        let path = directory.path().join(format!("{}-{sum}.{EXTENSION}", cache.key("aa")));
        write(&path, b"code").unwrap();
        let at_first = identity(&fs::metadata(&path).unwrap());
        assert_eq!(cache.entries("aa"), [(path.clone(), sum)]);
        assert_eq!(cache.entries("bb"), []);
        cache.check("aa");
        assert_eq!(identity(&fs::metadata(&path).unwrap()), at_first);

        write(&path, b"cold").unwrap();
        write(&path.with_extension(CHECKED), at_first.as_bytes()).unwrap();
        assert_ne!(identity(&fs::metadata(&path).unwrap()), at_first, "as long, and another file");
        cache.check("aa");
        assert_eq!(cache.entries("aa"), []);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "its note goes with it");
    }

    #[test]
    fn a_refusal_is_remembered_for_its_source_and_a_day() {
        let directory = tempfile::tempdir().unwrap();
        let cache = cache(directory.path());
        cache.refuse("aa", "2s of processor time");
        assert_eq!(cache.find_refusal("aa").as_deref(), Some("2s of processor time"));
        assert_eq!(cache.find_refusal("bb"), None);
        let note = File::options().write(true).open(cache.refusal("aa")).unwrap();
        note.set_times(FileTimes::new().set_modified(SystemTime::UNIX_EPOCH)).unwrap();
        assert_eq!(cache.find_refusal("aa"), None);
        assert!(!cache.refusal("aa").exists());
    }
}
