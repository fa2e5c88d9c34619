//! How much memory this process may have: what the machine has, or less where a cgroup says so.

use std::fs;
use std::path::{Component, Path};

/// Memory that may be used, and who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) bytes: u64,
    pub(super) by: &'static str,
}

/// What is assumed where nobody says anything: the least that servers are sold with today.
const UNKNOWN: Found = Found { bytes: 1 << 30, by: "nobody" };

/// Where a hierarchy of cgroups is, by its version.
struct Hierarchy {
    /// The names by which `/proc/self/cgroup` may know it.
    controller: &'static str,
    mounts: &'static [&'static str],
    file: &'static str,
    by: &'static str,
}

const HIERARCHIES: [Hierarchy; 2] = [
    Hierarchy {
        controller: "",
        mounts: &["sys/fs/cgroup", "sys/fs/cgroup/unified"],
        file: "memory.max",
        by: "cgroup (v2)",
    },
    Hierarchy {
        controller: "memory",
        mounts: &["sys/fs/cgroup/memory"],
        file: "memory.limit_in_bytes",
        by: "cgroup (v1)",
    },
];

/// The least of what the machine has and of what any cgroup around this process lets it have. `root` is `/`.
pub(super) fn memory(root: &Path) -> Found {
    let machine = total(root).map(|bytes| Found { bytes, by: "machine" });
    let limits = HIERARCHIES.iter().filter_map(|hierarchy| limit(root, hierarchy));
    machine.into_iter().chain(limits).min_by_key(|found| found.bytes).unwrap_or(UNKNOWN)
}

/// What the machine has.
fn total(root: &Path) -> Option<u64> {
    figure(&root.join("proc/meminfo"), "MemTotal:")
}

/// What this process has in memory that is not in a file as well.
pub(super) fn resident(root: &Path) -> Option<u64> {
    figure(&root.join("proc/self/status"), "RssAnon:")
}

/// The bytes that a file of the system says for that.
fn figure(file: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024).filter(|bytes| *bytes > 0)
}

/// The lowest limit of the cgroup that this process is in and of all around it. In a container the path is often that of the
/// host, and what is mounted begins with the container's own: what is not there is passed over.
fn limit(root: &Path, hierarchy: &Hierarchy) -> Option<Found> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let own = groups.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        controllers.split(',').any(|controller| controller == hierarchy.controller).then_some(path)
    })?;
    let mut own = Path::new(own).components().filter_map(|part| match part {
        // What lies outside of what this process sees is not to be had.
        Component::Normal(name) => Some(name),
        _ => None,
    });
    let mut folder = std::path::PathBuf::new();
    let mut folders = vec![folder.clone()];
    folders.extend(std::iter::from_fn(|| {
        folder.push(own.next()?);
        Some(folder.clone())
    }));
    let files = hierarchy.mounts.iter().flat_map(|mount| {
        let mount = root.join(mount);
        folders.iter().map(move |folder| mount.join(folder).join(hierarchy.file))
    });
    // `max` is no number, and says that there is no limit.
    let limits = files.filter_map(|file| fs::read_to_string(file).ok()?.trim().parse::<u64>().ok());
    limits.filter(|bytes| *bytes > 0).min().map(|bytes| Found { bytes, by: hierarchy.by })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use super::*;

    /// A tree of files, gone when it is dropped.
    struct Tree(PathBuf);

    impl Tree {
        fn of(files: &[(&str, &str)]) -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let name = format!("roomcast-machine-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
            let root = std::env::temp_dir().join(name);
            for (path, text) in files {
                let path = root.join(path);
                fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
                fs::write(path, text).expect("a file");
            }
            Self(root)
        }

        fn memory(&self) -> (u64, &'static str) {
            let Found { bytes, by } = memory(&self.0);
            (bytes, by)
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const MEMINFO: (&str, &str) = ("proc/meminfo", "MemTotal:        8000000 kB\nMemFree:  1 kB\n");
    const MACHINE: (u64, &str) = (8_192_000_000, "machine");

    #[test]
    fn a_machine_without_cgroups_has_what_it_has() {
        assert_eq!(Tree::of(&[MEMINFO]).memory(), MACHINE);
        let garbled = Tree::of(&[("proc/meminfo", "MemTotal: much\n"), ("proc/self/cgroup", "::::\n\nx")]);
        assert_eq!(garbled.memory(), (1 << 30, "nobody"));
    }

    #[test]
    fn the_lowest_limit_up_the_hierarchy_counts() {
        let tree = Tree::of(&[
            MEMINFO,
            ("proc/self/cgroup", "0::/system.slice/roomcast.service\n"),
            ("sys/fs/cgroup/system.slice/memory.max", "1000000000\n"),
            ("sys/fs/cgroup/system.slice/roomcast.service/memory.max", "2000000000\n"),
        ]);
        assert_eq!(tree.memory(), (1_000_000_000, "cgroup (v2)"));
        let own = tree.0.join("sys/fs/cgroup/system.slice/roomcast.service/memory.max");
        fs::write(own, "500000000\n").expect("a file");
        assert_eq!(tree.memory(), (500_000_000, "cgroup (v2)"));
    }

    #[test]
    fn no_limit_is_none() {
        let max = Tree::of(&[MEMINFO, ("proc/self/cgroup", "0::/a\n"), ("sys/fs/cgroup/a/memory.max", "max\n")]);
        assert_eq!(max.memory(), MACHINE);
        let v1 = [
            ("proc/self/cgroup", "5:cpu,memory:/a\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712"),
        ];
        assert_eq!(
            Tree::of(&[MEMINFO, v1[0], v1[1]]).memory(),
            MACHINE,
            "that many bytes is how it says that there is none"
        );
    }

    #[test]
    fn a_container_sees_its_own_limit_where_the_hosts_path_leads_nowhere() {
        let v1 = Tree::of(&[
            MEMINFO,
            ("proc/self/cgroup", "9:memory:/docker/0123\n1:name=systemd:/docker/0123\n0::/docker/0123\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "268435456\n"),
        ]);
        assert_eq!(v1.memory(), (268_435_456, "cgroup (v1)"));
        let v2 = Tree::of(&[
            MEMINFO,
            ("proc/self/cgroup", "0::/../../other\n"),
            ("sys/fs/cgroup/memory.max", "268435456\n"),
        ]);
        assert_eq!(v2.memory(), (268_435_456, "cgroup (v2)"));
    }

    #[test]
    fn both_versions_side_by_side_hold_both() {
        let tree = Tree::of(&[
            MEMINFO,
            ("proc/self/cgroup", "4:memory:/web\n0::/web\n"),
            ("sys/fs/cgroup/memory/web/memory.limit_in_bytes", "700000000"),
            ("sys/fs/cgroup/unified/web/memory.max", "600000000"),
        ]);
        assert_eq!(tree.memory(), (600_000_000, "cgroup (v2)"));
    }

    #[test]
    fn this_machine_has_some() {
        let found = memory(Path::new("/"));
        assert!(found.bytes > 1 << 20, "{found:?}");
    }
}
