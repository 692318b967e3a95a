//! How many CPUs this process can use: its affinity, and its cgroup's quota, which the host's count does not know.
//!
//! std's `available_parallelism` rounds a quota of 1.5 CPUs down; a cluster wants the second worker.

use std::fs;
use std::path::{Component, Path, PathBuf};

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::{Pid, SysconfVar, sysconf};

/// The CPUs that this process can use, at least 1.
#[must_use]
pub fn usable() -> u32 {
    let read = |path: &Path| fs::read_to_string(path).ok();
    let memberships = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let mounts = read(Path::new("/proc/self/mountinfo")).unwrap_or_default();
    let allowed = allowed();
    quota(&memberships, &mounts, read).map_or(allowed, |quota| allowed.min(quota)).max(1)
}

/// The CPUs in the affinity mask. More than 1,024 of them do not fit into nix's mask (EINVAL): then all that are online.
fn allowed() -> u32 {
    let count = match sched_getaffinity(Pid::from_raw(0)) {
        Ok(mask) => (0..CpuSet::count()).filter(|&cpu| mask.is_set(cpu) == Ok(true)).count(),
        Err(_) => {
            let online = sysconf(SysconfVar::_NPROCESSORS_ONLN).ok().flatten();
            online.and_then(|online| usize::try_from(online).ok()).unwrap_or(1)
        }
    };
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The smallest quota, in whole CPUs rounded up, of the own cgroup and of those above it as far as they are visible.
/// `memberships` and `mounts` are the texts of /proc/self/cgroup and /proc/self/mountinfo; `read` reads a file.
fn quota(memberships: &str, mounts: &str, read: impl Fn(&Path) -> Option<String>) -> Option<u32> {
    let limit = |version: Version, dir: &Path| match version {
        Version::Two => quota_v2(&read(&dir.join("cpu.max"))?),
        Version::One => quota_v1(&read(&dir.join("cpu.cfs_quota_us"))?, &read(&dir.join("cpu.cfs_period_us"))?),
    };
    let lowest = |version: Version| {
        let group = membership(memberships, version)?;
        let mount = mounts.lines().find_map(|line| mount(line, version))?;
        levels(&mount, group).iter().filter_map(|dir| limit(version, dir)).min()
    };
    [Version::Two, Version::One].into_iter().filter_map(lowest).min()
}

/// The two kinds of cgroup hierarchy; a hybrid host has both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// The own cgroup in a hierarchy: a line is `0::/path` (v2) or `4:cpu,cpuacct:/path` (v1).
fn membership(memberships: &str, version: Version) -> Option<&str> {
    memberships.lines().find_map(|line| {
        let (id, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let fits = match version {
            Version::Two => id == "0" && controllers.is_empty(),
            Version::One => controllers.split(',').any(|controller| controller == "cpu"),
        };
        fits.then_some(path)
    })
}

/// Where a hierarchy is mounted.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    /// The cgroup that is seen at `point`: not `/` in a container without a cgroup namespace.
    root: PathBuf,
    /// The directory.
    point: PathBuf,
}

/// A line of mountinfo, if it mounts this hierarchy: `30 23 0:26 ROOT POINT options … - TYPE source super-options`.
fn mount(line: &str, version: Version) -> Option<Mount> {
    let (place, kind) = line.split_once(" - ")?;
    let mut kind = kind.split(' ');
    let fits = match (kind.next()?, version) {
        ("cgroup2", Version::Two) => true,
        ("cgroup", Version::One) => kind.nth(1)?.split(',').any(|option| option == "cpu"),
        _ => false,
    };
    let mut place = place.split(' ').skip(3);
    let (root, point) = (place.next()?, place.next()?);
    fits.then(|| Mount { root: root.into(), point: point.into() })
}

/// The directories of the cgroup `group` and of those above it, up to the mount point. A group outside of what is mounted
/// (a foreign namespace: `/../x`) leaves the mount point alone.
fn levels(mount: &Mount, group: &str) -> Vec<PathBuf> {
    let inside = Path::new(group).strip_prefix(&mount.root).ok();
    let visible = inside.filter(|inside| inside.components().all(|part| matches!(part, Component::Normal(_))));
    visible.unwrap_or(Path::new("")).ancestors().map(|level| mount.point.join(level)).collect()
}

/// `cpu.max`: `150000 100000`, or `max 100000` without a quota.
fn quota_v2(text: &str) -> Option<u32> {
    let (quota, period) = text.trim().split_once(' ')?;
    whole_cpus(quota.parse().ok()?, period.parse().ok()?)
}

/// `cpu.cfs_quota_us`, -1 without a quota, and `cpu.cfs_period_us`.
fn quota_v1(quota: &str, period: &str) -> Option<u32> {
    whole_cpus(quota.trim().parse().ok()?, period.trim().parse().ok()?)
}

/// Rounded up: half a CPU is one worker.
fn whole_cpus(quota: u64, period: u64) -> Option<u32> {
    if period == 0 {
        return None;
    }
    Some(u32::try_from(quota.div_ceil(period)).unwrap_or(u32::MAX).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2_MOUNT: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate";
    const V1_MOUNT: &str = "33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct";

    /// The quota with these files in place.
    fn quota_with(memberships: &str, mounts: &str, files: &[(&str, &str)]) -> Option<u32> {
        quota(memberships, mounts, |path| {
            let found = files.iter().find(|(name, _)| Path::new(name) == path);
            found.map(|(_, text)| (*text).to_owned())
        })
    }

    #[test]
    fn a_quota_is_rounded_up_to_whole_cpus() {
        let cases: &[(&str, Option<u32>)] = &[
            ("max 100000\n", None),
            ("100000 100000\n", Some(1)),
            ("150000 100000\n", Some(2)),
            ("200000 100000", Some(2)),
            ("1000 100000\n", Some(1)),
            ("0 100000\n", Some(1)),
            ("100000 0\n", None),
            ("", None),
            ("rubbish", None),
            ("-1 100000", None),
        ];
        for (text, expected) in cases {
            assert_eq!(quota_v2(text), *expected, "{text:?}");
        }
    }

    #[test]
    fn a_quota_of_minus_one_is_none_in_the_first_version() {
        assert_eq!(quota_v1("-1\n", "100000\n"), None);
        assert_eq!(quota_v1("250000\n", "100000\n"), Some(3));
    }

    #[test]
    fn the_lowest_quota_on_the_way_up_counts() {
        let group = "0::/system.slice/svc.service\n";
        let own = ("/sys/fs/cgroup/system.slice/svc.service/cpu.max", "400000 100000\n");
        let above = ("/sys/fs/cgroup/system.slice/cpu.max", "250000 100000\n");
        let unlimited = ("/sys/fs/cgroup/system.slice/cpu.max", "max 100000\n");
        assert_eq!(quota_with(group, V2_MOUNT, &[own, above]), Some(3));
        assert_eq!(quota_with(group, V2_MOUNT, &[own, unlimited]), Some(4));
        assert_eq!(quota_with(group, V2_MOUNT, &[unlimited]), None);
    }

    #[test]
    fn a_container_sees_its_own_group_at_the_mount_point() {
        let file = ("/sys/fs/cgroup/cpu.max", "50000 100000\n");
        assert_eq!(quota_with("0::/\n", V2_MOUNT, &[file]), Some(1), "with a cgroup namespace");
        let bound = "30 23 0:26 /docker/ab /sys/fs/cgroup ro - cgroup2 cgroup rw";
        assert_eq!(quota_with("0::/docker/ab\n", bound, &[file]), Some(1), "without one");
        assert_eq!(quota_with("0::/../other\n", V2_MOUNT, &[file]), Some(1), "of a foreign namespace");
    }

    #[test]
    fn the_first_version_is_read_too_and_beside_the_second() {
        let groups = "5:cpu,cpuacct:/job\n3:cpuset:/other\n0::/\n";
        let mounts =
            format!("31 30 0:28 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n{V1_MOUNT}\n{V2_MOUNT}\n");
        let files = [
            ("/sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "120000\n"),
            ("/sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us", "100000\n"),
        ];
        assert_eq!(quota_with(groups, &mounts, &files), Some(2));
        assert_eq!(quota_with("3:cpuset:/other\n", &mounts, &files), None, "cpuset is not cpu");
    }

    #[test]
    fn without_cgroups_there_is_no_quota() {
        assert_eq!(quota_with("", "", &[]), None);
        assert_eq!(quota_with("rubbish", "no mount\n - cgroup2\n", &[]), None);
    }

    #[test]
    fn this_machine_has_a_usable_cpu_and_no_more_than_std_counts_by_one_of_rounding() {
        let std_count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let ours = usize::try_from(usable()).unwrap();
        assert!((std_count..=std_count + 1).contains(&ours), "{ours} against {std_count}");
    }
}
