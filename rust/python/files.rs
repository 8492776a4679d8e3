//! The files below a folder, for the command line. It only walks: nothing is opened but what says what to leave out.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};
use ignore::{DirEntry, WalkBuilder};
use pyo3::prelude::*;

use crate::error::Error;

/// Return the regular files below a folder in the order of their names, as paths relative to it, each with None;
/// and each folder that could not be read, with the reason.
///
/// Left out are what `.gitignore` files exclude (those of the folders above, `.git/info/exclude` and the user's
/// own list too, with or without a repository), hidden files and folders, symbolic links, and `.git` always.
/// `hidden` and `ignored` take the first two in. `glob` keeps the paths that it matches, where `*` and `?` match
/// no slash and `**` any number of folders.
#[pyfunction]
#[pyo3(signature = (folder, *, glob=None, hidden=false, ignored=false))]
pub(super) fn walk_files(
    py: Python<'_>,
    folder: PathBuf,
    glob: Option<&str>,
    hidden: bool,
    ignored: bool,
) -> PyResult<Vec<(OsString, Option<String>)>> {
    let pattern = glob.map(matcher).transpose()?;
    // Without `**` a pattern matches paths of its own depth only, and the walk need not go deeper.
    let depth = glob.filter(|glob| !glob.contains("**")).map(|glob| glob.split('/').count());
    let walk = WalkBuilder::new(&folder)
        .hidden(!hidden)
        .ignore(false)
        .git_ignore(!ignored)
        .git_exclude(!ignored)
        .git_global(!ignored)
        .parents(!ignored)
        .require_git(false)
        .max_depth(depth)
        .filter_entry(|entry| entry.file_name() != ".git")
        .sort_by_file_name(Ord::cmp)
        .build();
    let mut files = Vec::new();
    for entry in walk {
        // A large tree takes seconds, and Ctrl-C has to end it.
        py.check_signals()?;
        match entry {
            Ok(entry) => files.extend(kept(&entry, &folder, pattern.as_ref()).map(|path| (path, None))),
            Err(error) => files.push(unreadable(&error, &folder)),
        }
    }
    Ok(files)
}

fn matcher(glob: &str) -> PyResult<GlobMatcher> {
    let pattern = GlobBuilder::new(glob).literal_separator(true).build();
    Ok(pattern
        .map_err(|error| Error::Argument(format!("glob {glob:?}: {}", error.kind())))?
        .compile_matcher())
}

/// The path of an entry relative to the folder, if it is a file that the pattern matches.
fn kept(entry: &DirEntry, folder: &Path, pattern: Option<&GlobMatcher>) -> Option<OsString> {
    let path = entry.path().strip_prefix(folder).ok()?;
    let is_file = entry.depth() > 0 && entry.file_type().is_some_and(|kind| kind.is_file());
    let matches = pattern.is_none_or(|pattern| pattern.is_match(path));
    (is_file && matches).then(|| path.into())
}

/// The path of a folder that could not be read, relative to the folder of the walk, and the reason.
fn unreadable(error: &ignore::Error, folder: &Path) -> (OsString, Option<String>) {
    let path = path_of(error).unwrap_or(folder);
    // The walk wraps what the operating system said into a sentence with the path.
    let wrapped = error.io_error().and_then(|error| error.get_ref());
    let reason =
        wrapped.and_then(|error| error.source()).map_or_else(|| error.to_string(), ToString::to_string);
    (path.strip_prefix(folder).unwrap_or(path).into(), Some(reason))
}

fn path_of(error: &ignore::Error) -> Option<&Path> {
    match error {
        ignore::Error::WithPath { path, .. } => Some(path),
        ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => path_of(err),
        _ => None,
    }
}
