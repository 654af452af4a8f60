//! Who we are: the name under which our positions stand in the lake's transaction ids.

use std::{io, path::Path};

use data::disk::Disk;
use uuid::Uuid;

/// The node's id: that of the file `node`, else that of the log's own segments, else `fresh`.
/// Writes the file if it is missing or damaged.
pub(crate) fn identify(
    disk: &dyn Disk,
    dir: &Path,
    of_log: Option<String>,
    fresh: Uuid,
) -> io::Result<String> {
    let path = dir.join("node");
    let read = disk.read(&path).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    if let Some(id) = read.and_then(|text| text.trim().parse::<Uuid>().ok()) {
        return Ok(id.to_string());
    }
    let of_log = of_log.and_then(|text| text.parse::<Uuid>().ok());
    let id = of_log.unwrap_or(fresh).to_string();
    let new = dir.join("node.new");
    match disk.remove(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = disk.create(&new)?;
    file.append(id.as_bytes())?;
    file.sync()?;
    disk.rename(&new, &path)?;
    disk.sync_dir(dir)?;
    Ok(id)
}
