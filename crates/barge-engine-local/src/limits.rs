//! Limits of CPU and memory, where this machine's cgroups allow them; said clearly where not.
//!
//! Both hierarchies exist in the field: v2 (one tree) and v1 (a tree for each controller). Files are written directly.

use std::path::{Path, PathBuf};

use barge_engine::LimitsReport;
use barge_model::InstanceId;
use barge_model::manifest::Resources;

const ROOT: &str = "/sys/fs/cgroup";
/// The length of a scheduling period in microseconds, of which an instance gets its share.
const PERIOD: u64 = 100_000;

/// Makes the instance's groups and sets its limits; the answer names the files that barge-init writes itself into.
pub(crate) fn set(id: &InstanceId, resources: &Resources) -> (LimitsReport, Vec<PathBuf>) {
    if resources.cpu.is_none() && resources.memory.is_none() {
        return (LimitsReport::NotAsked, Vec::new());
    }
    let quota = resources.cpu.map(|cpu| u64::from(cpu.0) * PERIOD / 1000);
    let memory = resources.memory.map(|memory| memory.0);
    let root = Path::new(ROOT);
    let result = if root.join("cgroup.controllers").exists() {
        version_2(root, id, quota, memory)
    } else {
        version_1(root, id, quota, memory)
    };
    match result {
        Ok(groups) => (LimitsReport::Enforced, groups),
        Err((path, error)) => {
            remove(id);
            let reason = format!("this machine's cgroups do not allow it: write {}: {error}", path.display());
            (LimitsReport::NotEnforced { reason }, Vec::new())
        }
    }
}

type Outcome = Result<Vec<PathBuf>, (PathBuf, std::io::Error)>;

fn version_2(root: &Path, id: &InstanceId, quota: Option<u64>, memory: Option<u64>) -> Outcome {
    let parent = root.join("barge");
    make(&parent)?;
    for directory in [root, &parent] {
        put(&directory.join("cgroup.subtree_control"), "+cpu +memory")?;
    }
    let group = parent.join(id.as_str());
    make(&group)?;
    if let Some(quota) = quota {
        put(&group.join("cpu.max"), &format!("{quota} {PERIOD}"))?;
    }
    if let Some(memory) = memory {
        put(&group.join("memory.max"), &memory.to_string())?;
        // Memory that goes to the disk instead is no limit, and slows down everybody.
        put_if_there(&group.join("memory.swap.max"), "0")?;
    }
    Ok(vec![group.join("cgroup.procs")])
}

fn version_1(root: &Path, id: &InstanceId, quota: Option<u64>, memory: Option<u64>) -> Outcome {
    let mut groups = Vec::new();
    if let Some(quota) = quota {
        let group = root.join("cpu/barge").join(id.as_str());
        make(&group)?;
        put(&group.join("cpu.cfs_period_us"), &PERIOD.to_string())?;
        put(&group.join("cpu.cfs_quota_us"), &quota.to_string())?;
        groups.push(group.join("cgroup.procs"));
    }
    if let Some(memory) = memory {
        let group = root.join("memory/barge").join(id.as_str());
        make(&group)?;
        put(&group.join("memory.limit_in_bytes"), &memory.to_string())?;
        put_if_there(&group.join("memory.memsw.limit_in_bytes"), &memory.to_string())?;
        groups.push(group.join("cgroup.procs"));
    }
    Ok(groups)
}

/// Removes the instance's groups; empty ones are all that can be removed.
pub(crate) fn remove(id: &InstanceId) {
    for tree in ["barge", "cpu/barge", "memory/barge"] {
        let _ = std::fs::remove_dir(Path::new(ROOT).join(tree).join(id.as_str()));
    }
}

fn make(path: &Path) -> Result<(), (PathBuf, std::io::Error)> {
    std::fs::create_dir_all(path).map_err(|error| (path.to_owned(), error))
}

fn put(path: &Path, text: &str) -> Result<(), (PathBuf, std::io::Error)> {
    std::fs::write(path, text).map_err(|error| (path.to_owned(), error))
}

/// The same for a file that a kernel without accounting of swap does not have.
fn put_if_there(path: &Path, text: &str) -> Result<(), (PathBuf, std::io::Error)> {
    if path.exists() { put(path, text) } else { Ok(()) }
}
