//! The directory that a command is typed in, under the name that its user knows it by.

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// The current directory: `$PWD`, where it leads there, since a shell that was led by a link (a deployment's `current`) says so
/// only in it; else the real path.
///
/// # Errors
/// It has been removed, or cannot be reached.
pub fn current() -> io::Result<PathBuf> {
    let real = std::env::current_dir()?;
    Ok(named(std::env::var_os("PWD").as_deref(), &real).unwrap_or(real))
}

/// By the rules of POSIX for `$PWD`: an absolute path of the same directory, without `.` and `..`.
fn named(variable: Option<&OsStr>, real: &Path) -> Option<PathBuf> {
    let name = Path::new(variable?);
    let is_plain = name.is_absolute() && name.components().all(|part| part != Component::ParentDir);
    let identity = |path: &Path| path.metadata().ok().map(|found| (found.dev(), found.ino()));
    let is_here = is_plain && identity(name).is_some_and(|there| Some(there) == identity(real));
    is_here.then(|| name.components().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_counts_where_it_leads_to_the_same_directory_and_only_there() {
        let root = std::env::temp_dir().join(format!("eggctl-cwd-{}", std::process::id()));
        let (one, two, link) = (root.join("one"), root.join("two"), root.join("link"));
        std::fs::create_dir_all(&one).unwrap();
        std::fs::create_dir_all(&two).unwrap();
        std::os::unix::fs::symlink("one", &link).unwrap();
        let of = |name: &Path| named(Some(name.as_os_str()), &one);
        assert_eq!(of(&link), Some(link.clone()));
        assert_eq!(of(&root.join("link/")), Some(link.clone()));
        assert_eq!(of(&one), Some(one.clone()));
        for other in
            [two.as_path(), &root, &root.join("none"), &root.join("two/../one"), Path::new("link"), Path::new("")]
        {
            assert_eq!(of(other), None, "{other:?}");
        }
        assert_eq!(named(None, &one), None);
        std::fs::remove_dir_all(&root).unwrap();
    }
}
