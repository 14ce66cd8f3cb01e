//! Builds all container images: `build_containers CACHE-DIR BLOB-DIR`. The log goes to standard
//! error, the records to standard output. For trials of a Containerfile; `undercloud container
//! build` is the command.

use std::{
    error::Error,
    io::{self, Write},
    time::Instant,
};

use camino::Utf8PathBuf;
use undercloud_image::{
    blob::Blobs,
    container::{BuildRequest, Step, build_all},
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).map(Utf8PathBuf::from);
    let mut next = |what: &str| arguments.next().ok_or(format!("{what} is missing"));
    let (cache_dir, blobs) = (next("cache dir")?, next("blob dir")?);
    let blobs = Blobs::open(blobs)?;
    let began = Instant::now();
    let on_step = |step: Step<'_>| {
        let _ = writeln!(io::stdout(), "{:6.1} s  {step}", began.elapsed().as_secs_f32());
    };
    let built = build_all(BuildRequest {
        cache_dir: &cache_dir,
        blobs: &blobs,
        site: &[],
        wanted: None,
        secrets: &[],
        log: &mut io::stderr(),
        on_step: &on_step,
        now: 0,
    })?;
    let mut out = io::stdout();
    writeln!(out, "{:6.1} s  built: {}", began.elapsed().as_secs_f32(), built.built)?;
    for image in &built.images {
        let layers = image.layers.len();
        writeln!(out, "{:18} {:>11} {layers} {}", image.name, image.size, image.manifest.digest)?;
    }
    Ok(())
}
