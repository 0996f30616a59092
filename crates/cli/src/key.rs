//! `weir key`: this machine's key, and the peer ID that others know it by.

use crate::args::Common;
use crate::out::{Failure, Outcome, json_line, say, show};
use clap::Args;
use serde::Serialize;
use std::path::{Path, PathBuf};
use weir::Identity;
use weir::security::KeyError;

/// `weir key`
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  weir key\n  weir key --out other.key && weir listen --key other.key --allow-peer ID\n\n\
    The key is made when there is none yet, in a file that only its owner can read. Whoever has the\n\
    file is this machine, as far as peers can tell; the peer ID is no secret."
)]
pub(crate) struct KeyArgs {
    /// The key file, instead of ~/.config/weir/key
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Serialize)]
struct Shown {
    peer_id: String,
    file: String,
    created: bool,
}

/// Runs `weir key`.
pub(crate) fn run(args: &KeyArgs) -> Outcome {
    let path = path(args.out.as_deref())?;
    let created = !path.exists();
    let identity = load(&path)?;
    let shown = Shown {
        peer_id: identity.peer_id().to_string(),
        file: path.display().to_string(),
        created,
    };
    if args.common.json {
        json_line(&shown);
    } else {
        if created {
            say(format_args!("a new key, in {}", shown.file));
        } else {
            say(format_args!("the key in {}", shown.file));
        }
        show(&shown.peer_id);
    }
    Ok(())
}

/// The key file that was named, or the one of this user.
pub(crate) fn path(named: Option<&Path>) -> Result<PathBuf, Failure> {
    match named {
        Some(path) => Ok(path.to_owned()),
        None => Identity::default_path()
            .map_err(|error| Failure::failed(error).hint("name a key file on the command line")),
    }
}

/// The key in `path`, made when there is none.
pub(crate) fn load(path: &Path) -> Result<Identity, Failure> {
    Identity::load_or_create(path).map_err(|error: KeyError| Failure::failed(error))
}
