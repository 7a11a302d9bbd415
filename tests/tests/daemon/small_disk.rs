//! A disk that a test can fill: a little memory, where the machine lets us mount it.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Unmounted when dropped, so before its directory goes.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Makes the directory, and mounts so many mebibytes there that belong to the owner of `like`. Says so loudly, and
    /// answers `None`, where nobody may mount.
    pub(crate) fn mount_or_skip(directory: &Path, mebibytes: u32, like: &Path) -> Option<Self> {
        std::fs::create_dir(directory).unwrap();
        let owner = std::fs::metadata(like).unwrap();
        let options =
            format!("size={mebibytes}m,mode=0700,uid={},gid={}", owner.uid(), owner.gid());
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "postrider-test"])
            .arg(directory)
            .output();
        if mount.is_ok_and(|mount| mount.status.success()) {
            return Some(Self(directory.to_owned()));
        }
        // Not `eprintln!`, which the test harness keeps to itself.
        writeln!(
            std::io::stderr(),
            "a small disk cannot be mounted, which needs root: this test is SKIPPED"
        )
        .ok();
        None
    }

    pub(crate) fn fill(&self) {
        let mut ballast =
            OpenOptions::new().create(true).append(true).open(self.ballast()).unwrap();
        let page = [b'x'; 4096];
        while ballast.write_all(&page).is_ok() {}
    }

    pub(crate) fn make_room(&self) {
        drop(File::create(self.ballast()).unwrap());
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a daemon of a test that failed still has files there.
        Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}
