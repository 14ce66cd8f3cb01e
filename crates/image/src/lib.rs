//! Disk images: build, import, verify, write; blobs by digest.
