//! The agent's program, which goes into the images: a file beside this program where both were built
//! from a checkout, behind this program's own bytes where it was released as one file.
//!
//! ```text
//! program │ agent │ length of the agent, 8 bytes, little-endian │ "undercloud-agent"
//! ```
//! What lies behind an ELF program is never loaded. `cargo xtask dist` puts it there.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use undercloud_model::ErrorKind;

use crate::{failure::Failure, state::StateDir, whole_file};

/// Names another agent.
const VARIABLE: &str = "UNDERCLOUD_AGENT";
/// Its name beside this program, and in the state when it comes from inside.
const NAME: &str = "undercloud-agent";
/// The last bytes of a program with an agent inside.
const MARK: &[u8; 16] = b"undercloud-agent";
/// Those, and the length before them.
const TRAILER_BYTES: u64 = 24;

/// Where an agent is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a file.
    File(PathBuf),
    /// In a program: from which byte, how many.
    Inside { program: PathBuf, from: u64, bytes: u64 },
}

impl Place {
    /// As people read it.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Inside { .. } => "inside this program".to_owned(),
        }
    }
}

/// Where the agent is.
///
/// # Errors
/// When it is nowhere, or not where the variable says.
pub(crate) fn find() -> Result<Place> {
    let told = std::env::var_os(VARIABLE).map(PathBuf::from);
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    // Its own bytes by this name: the file of its name may be another release's by now (proc(5)).
    place(told, &program, Path::new("/proc/self/exe"))
}

/// The agent's bytes, from the first to the last.
///
/// # Errors
/// As for [`find`]; or it cannot be opened.
pub(crate) fn open() -> Result<io::Take<File>> {
    opened(&find()?)
}

/// The agent as a file: what is inside of this program is laid into the state.
///
/// # Errors
/// As for [`find`]; or the file cannot be written.
pub(crate) fn file(state: &StateDir) -> Result<PathBuf> {
    laid_out(find()?, state.root())
}

fn place(told: Option<PathBuf>, program: &Path, own: &Path) -> Result<Place> {
    if let Some(path) = told {
        if path.is_file() {
            return Ok(Place::File(path));
        }
        let message = format!("{VARIABLE} names {}, and there is no such file", path.display());
        return Err(Failure::new(ErrorKind::NotFound, message).hint("unset it, or mend it").into());
    }
    let beside = program.with_file_name(NAME);
    if beside.is_file() {
        return Ok(Place::File(beside));
    }
    let unreadable = || format!("cannot read {}", program.display());
    if let Some((from, bytes)) = inside(own).with_context(unreadable)? {
        return Ok(Place::Inside { program: own.to_owned(), from, bytes });
    }
    let message = format!("the agent's program is not here: {}", beside.display());
    let hint = format!("./up builds it; {VARIABLE} says where it is");
    Err(Failure::new(ErrorKind::NotFound, message).hint(hint).into())
}

/// From which byte of a program on its agent is, and how many bytes it has.
fn inside(program: &Path) -> io::Result<Option<(u64, u64)>> {
    let mut file = File::open(program)?;
    let Some(end) = file.metadata()?.len().checked_sub(TRAILER_BYTES) else { return Ok(None) };
    file.seek(SeekFrom::Start(end))?;
    let (mut length, mut mark) = ([0; 8], [0; 16]);
    file.read_exact(&mut length)?;
    file.read_exact(&mut mark)?;
    let bytes = u64::from_le_bytes(length);
    let from = end.checked_sub(bytes).filter(|_| mark == *MARK && bytes > 0);
    Ok(from.map(|from| (from, bytes)))
}

fn opened(place: &Place) -> Result<io::Take<File>> {
    let (path, from, bytes) = match place {
        Place::File(path) => (path, 0, u64::MAX),
        Place::Inside { program, from, bytes } => (program, *from, *bytes),
    };
    let open = || {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(from))?;
        io::Result::Ok(file.take(bytes))
    };
    open().with_context(|| format!("cannot read {}", path.display()))
}

fn laid_out(place: Place, folder: &Path) -> Result<PathBuf> {
    let bytes = match place {
        Place::File(path) => return Ok(path),
        Place::Inside { .. } => {
            let mut agent = Vec::new();
            opened(&place)?.read_to_end(&mut agent).context("cannot read the agent inside")?;
            agent
        }
    };
    let path = folder.join(NAME);
    whole_file::write(&path, &bytes)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn with_inside(agent: &[u8]) -> Vec<u8> {
        [b"a program", agent, &(agent.len() as u64).to_le_bytes(), MARK].concat()
    }

    #[test]
    fn the_agent_that_one_names_then_the_one_beside_then_the_one_inside() {
        let folder = tempfile::tempdir().unwrap();
        let (program, beside) = (folder.path().join("undercloud"), folder.path().join(NAME));
        let named = folder.path().join("named");
        fs::write(&named, "named").unwrap();

        fs::write(&program, "a program").unwrap();
        let error = place(None, &program, &program).unwrap_err().to_string();
        assert!(error.contains(&beside.display().to_string()), "{error}");
        fs::write(&program, with_inside(b"inside")).unwrap();
        let inside = place(None, &program, &program).unwrap();
        assert_eq!(inside, Place::Inside { program: program.clone(), from: 9, bytes: 6 });
        fs::write(&beside, "beside").unwrap();
        assert_eq!(place(None, &program, &program).unwrap(), Place::File(beside));
        assert_eq!(place(Some(named.clone()), &program, &program).unwrap(), Place::File(named));
        // One that was named is not quietly another one.
        let error = place(Some(folder.path().join("absent")), &program, &program).unwrap_err();
        assert!(error.to_string().contains("absent, and there is no such file"), "{error}");
    }

    #[test]
    fn what_is_inside_becomes_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("undercloud");
        for agent in [&b"of one release"[..], b"of the next"] {
            fs::write(&program, with_inside(agent)).unwrap();
            let path = laid_out(place(None, &program, &program).unwrap(), folder.path()).unwrap();
            assert_eq!(fs::read(&path).unwrap(), agent);
            fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn any_last_bytes_are_an_agent_or_none() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("undercloud");
        let whole = with_inside(b"inside");
        for cut in 0..whole.len() {
            fs::write(&program, &whole[..cut]).unwrap();
            assert_eq!(inside(&program).unwrap(), None, "the first {cut} bytes");
        }
        for length in [0, 16, u64::MAX] {
            let bytes = [b"a program inside", &length.to_le_bytes()[..], MARK].concat();
            fs::write(&program, bytes).unwrap();
            let expected = (length == 16).then_some((0, 16));
            assert_eq!(inside(&program).unwrap(), expected, "{length}");
        }
    }
}
