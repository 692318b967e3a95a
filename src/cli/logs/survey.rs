//! The files of one log in the order of writing, as they lie there at one moment although it is rotated meanwhile.

use std::io;
use std::path::Path;

use super::source::{Source, unix_ms, unreadable};
use crate::error::Failure;
use crate::logger::names::Form;
use crate::logger::shelf::{self, OldLog};

/// How often a log is looked at again that does not stand still.
const MOST_LOOKS: u32 = 100;

/// A log's files.
pub struct Survey {
    /// The old ones that were written before the live one, oldest first.
    pub old: Vec<OldLog>,
    /// The live one.
    pub live: Option<Source>,
}

impl Survey {
    /// Looks at the log with this live path.
    ///
    /// # Errors
    /// The live file or the directory cannot be read.
    pub fn of(path: &Path) -> Result<Self, Failure> {
        let (directory, name) = shelf::split(path).map_err(|error| unreadable(path, &error))?;
        let list = || match shelf::old_logs(directory, name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            listed => listed.map_err(|error| unreadable(directory, &error)),
        };
        let mut survey = Survey { old: list()?, live: Source::open(path, false)? };
        // A listing of a directory that changes may lack a file that is being renamed: what counts is what stays the same.
        for _ in 0..MOST_LOOKS {
            let old = list()?;
            let is_same = old.iter().map(|log| log.name).eq(survey.old.iter().map(|log| log.name))
                && survey.live.as_ref().is_none_or(|live| live.is_at(path));
            if is_same {
                break;
            }
            survey = Survey { old, live: Source::open(path, false)? };
        }
        Ok(survey)
    }

    /// Is there anything?
    pub fn is_empty(&self) -> bool {
        self.old.is_empty() && self.live.is_none()
    }
}

/// Opens an old log; `None`: retention has taken it.
///
/// # Errors
/// It cannot be read.
pub fn open_old(live: &Path, old: &OldLog) -> Result<Option<Source>, Failure> {
    let (directory, name) = shelf::split(live).map_err(|error| unreadable(live, &error))?;
    // It may be compressed between the listing and now, and then the compressed file is there before the plain one goes.
    let forms = match old.form {
        Form::Plain => &[Form::Plain, Form::Compressed][..],
        Form::Compressed | Form::Temporary => &[Form::Compressed],
    };
    for form in forms {
        let path = directory.join(old.name.file(name, *form));
        if let Some(source) = Source::open(&path, *form == Form::Compressed)? {
            return Ok(Some(source));
        }
    }
    Ok(None)
}

/// When a file was begun and when it was last written; in milliseconds since 1970. Rotation ends one file and begins the next,
/// so it was begun when the one before was last written, unless somebody has set the times.
pub fn written(source: &Source, before: Option<&OldLog>) -> (i64, i64) {
    let ended = source.modified().map_or(i64::MAX, unix_ms);
    let begun = before.map(|before| unix_ms(before.modified)).filter(|begun| *begun <= ended);
    (begun.unwrap_or(i64::MIN), ended)
}
