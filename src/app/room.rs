//! How much memory this process may have, and so the bodies of requests.

use std::path::{Path, PathBuf};

use crate::config::Server;

/// This part of the memory is for bodies as they come: read and sent on, each takes some three times its length.
const PART: usize = 8;
/// What is taken for the memory where nothing tells.
const UNTOLD: usize = 4 << 30;

/// What all bodies may take together: as much as was asked for, or, with 0, as there is room for; in bytes. One of the
/// longest always fits.
pub(super) fn for_bodies(server: &Server) -> usize {
    let most = match server.max_buffered_bytes() {
        0 => memory(|path| std::fs::read_to_string(path).ok()).unwrap_or(UNTOLD) / PART,
        most => most,
    };
    most.max(server.max_body_bytes())
}

/// What the machine has, or less where the control groups say so that the process is in, all of which hold:
/// <https://docs.kernel.org/admin-guide/cgroup-v2.html>. In bytes.
fn memory(read: impl Fn(&Path) -> Option<String>) -> Option<usize> {
    let machine = read(Path::new("/proc/meminfo")).and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()?.checked_mul(1024)
    });
    let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let limits = groups.lines().flat_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, group) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            // The first version has a tree for each kind.
            "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => return Vec::new(),
        };
        let group = PathBuf::from(group.trim_start_matches('/'));
        group.ancestors().map(|group| Path::new(root).join(group).join(file)).collect()
    });
    // Without a limit it is the word `max`, or a number beyond any memory.
    limits.filter_map(|path| read(&path)?.trim().parse().ok()).chain(machine).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn of(files: &[(&str, &str)]) -> Option<usize> {
        memory(|path| files.iter().find(|file| Path::new(file.0) == path).map(|file| file.1.to_owned()))
    }

    #[test]
    fn the_narrowest_limit_counts_that_the_process_is_under() {
        let machine = ("/proc/meminfo", "MemTotal:       8388608 kB\nMemFree: 1 kB\n");
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[machine]), Some(8192 * MIB));
        let groups = ("/proc/self/cgroup", "0::/kubepods/pod1\n");
        let pod = ("/sys/fs/cgroup/kubepods/pod1/memory.max", "max\n");
        assert_eq!(of(&[machine, groups, pod]), Some(8192 * MIB));
        let all = ("/sys/fs/cgroup/kubepods/memory.max", "536870912\n");
        assert_eq!(of(&[machine, groups, pod, all]), Some(512 * MIB), "one above holds as well");
        let inside = [machine, ("/proc/self/cgroup", "0::/\n"), ("/sys/fs/cgroup/memory.max", "268435456\n")];
        assert_eq!(of(&inside), Some(256 * MIB));
        let old = [
            machine,
            ("/proc/self/cgroup", "5:cpu:/x\n4:memory:/docker/1\n0::/\n"),
            // Of a container that sees its own part of the tree alone.
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "268435456\n"),
            ("/sys/fs/cgroup/cpu/x/memory.limit_in_bytes", "1\n"),
        ];
        assert_eq!(of(&old), Some(256 * MIB));
        let unlimited = [machine, old[1], (old[2].0, "9223372036854771712\n")];
        assert_eq!(of(&unlimited), Some(8192 * MIB));
    }

    #[test]
    fn one_body_of_the_longest_always_fits() {
        let server = Server { max_buffered_mb: 30, ..Server::default() };
        assert_eq!(for_bodies(&server), 30 * MIB);
        let long = Server { max_body_mb: 1024, max_buffered_mb: 30, ..Server::default() };
        assert_eq!(for_bodies(&long), 1024 * MIB);
        assert!(for_bodies(&Server::default()) >= 25 * MIB);
    }
}
