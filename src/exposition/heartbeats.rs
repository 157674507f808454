//! `/api/v1/targets/NAME/heartbeats`: writes the [`HeartbeatsDocument`] of a target.

use std::io;

use crate::observe::TargetLook;
use crate::observe::document::HeartbeatsDocument;

/// Writes the newest heartbeats of a target, and those before it last went down.
///
/// # Errors
/// Those of `out`.
pub fn encode_heartbeats(look: &TargetLook, out: impl io::Write) -> io::Result<()> {
    serde_json::to_writer(out, &HeartbeatsDocument::from(look)).map_err(io::Error::from)
}
