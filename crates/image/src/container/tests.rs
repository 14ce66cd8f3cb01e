//! What is built when, and what of it reaches a state. No test here starts Podman.

use super::*;
use crate::{
    catalog::{Content, Encoding, Image, ImageKind, names},
    digest_of,
    oci::{Manifest, Piece},
};

fn recipes() -> Vec<Recipe<'static>> {
    recipe::read(&[], &digest_of(b"archive")).unwrap()
}

fn names<'a>(plan: Vec<&Recipe<'a>>) -> Vec<&'a str> {
    let mut names: Vec<_> = plan.into_iter().map(|recipe| recipe.name).collect();
    names.sort_unstable();
    names
}

#[test]
fn only_what_is_missing_is_built() {
    let recipes = recipes();
    assert_eq!(plan(&recipes, |_| false, |_| false).len(), recipes.len());
    assert!(plan(&recipes, |_| true, |_| false).is_empty());
    let lost = |recipe: &Recipe<'_>| recipe.name != "libvirt";
    assert_eq!(names(plan(&recipes, lost, |_| true)), ["libvirt"]);
    let lost = |recipe: &Recipe<'_>| recipe.name != "nova";
    assert_eq!(names(plan(&recipes, lost, |_| true)), ["libvirt", "nova"]);
}

#[test]
fn what_a_cloud_does_not_need_is_not_built() {
    let wanted = ["libvirt".to_owned()].into();
    let needed = recipe::needed_for(recipes(), Some(&wanted));
    assert_eq!(names(needed.iter().collect()), ["base", "libvirt", "nova", "openstack-python"]);
    assert_eq!(recipe::needed_for(recipes(), None).len(), recipes().len());
}

#[test]
fn a_parent_that_podman_lost_is_built_again_with_its_children() {
    let recipes = recipes();
    let lost = |recipe: &Recipe<'_>| recipe.name != "libvirt";
    let stored = |recipe: &Recipe<'_>| recipe.name != "nova";
    assert_eq!(names(plan(&recipes, lost, stored)), ["libvirt", "nova"]);
    // Without its base everything is new.
    let stored = |recipe: &Recipe<'_>| recipe.name != "base";
    let lost = |recipe: &Recipe<'_>| recipe.name != "haproxy";
    assert_eq!(plan(&recipes, lost, stored).len(), recipes.len());
}

#[test]
fn two_workers_take_every_image_once_after_its_parents() {
    let recipes = recipes();
    let left: Vec<&Recipe<'_>> = recipes.iter().collect();
    let queue = Mutex::new(Queue { left, under_way: BTreeSet::new(), failure: None });
    let (changed, done) = (Condvar::new(), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(recipe) = next(&queue, &changed) {
                    let mut done = done.lock().unwrap();
                    assert!(recipe.parents.iter().all(|parent| done.contains(parent)));
                    done.push(recipe.name);
                    drop(done);
                    locked(&queue).under_way.remove(recipe.name);
                    changed.notify_all();
                }
            });
        }
    });
    assert_eq!(done.into_inner().unwrap().len(), recipes.len());
}

#[test]
fn nothing_begins_after_a_failure() {
    let recipes = recipes();
    let (left, failure) = (recipes.iter().collect(), Some(BuildError::NoSource));
    let queue = Mutex::new(Queue { left, under_way: BTreeSet::new(), failure });
    assert!(next(&queue, &Condvar::new()).is_none());
}

fn kept(dir: &Utf8Path) -> (Blobs, ContainerImage) {
    let kept = Blobs::open(dir.join("kept")).unwrap();
    let put = |bytes: &[u8]| {
        let stored = kept.put(bytes).unwrap();
        Piece { digest: stored.digest, size: stored.size }
    };
    let (config, layers) = (put(b"config"), vec![put(b"layer")]);
    let manifest = put(&Manifest { config, layers: layers.clone() }.to_bytes());
    let (name, inputs) = ("base".to_owned(), digest_of(b"inputs"));
    (kept, ContainerImage { name, manifest, config, layers, size: 1, inputs, built_at: 1 })
}

fn store_image(kept: &Blobs) -> Image {
    let stored = kept.put(&b"squashfs"[..]).unwrap();
    Image {
        name: names::CONTAINER_STORE.to_owned(),
        kind: ImageKind::ContainerStore,
        digest: stored.digest,
        size: stored.size,
        encoding: Encoding::Plain,
        content: Content { digest: stored.digest, size: stored.size },
        os: None,
        min_disk_bytes: 0,
        has_agent: false,
        built_at: 1,
        inputs: digest_of(b"inputs"),
    }
}

#[test]
fn a_state_gets_what_it_lacks_from_the_cache() {
    let dir = tempfile::tempdir().unwrap();
    let dir = Utf8Path::from_path(dir.path()).unwrap();
    let (kept, image) = kept(dir);
    let store = store_image(&kept);
    let blobs = Blobs::open(dir.join("state")).unwrap();
    // A file that was cut short is no blob.
    let layer = image.layers[0];
    blobs.put(&b"layer"[..]).unwrap();
    fs::write(blobs.path(&layer.digest), "lay").unwrap();
    let steps = Mutex::new(Vec::new());
    let on_step = |step: Step<'_>| steps.lock().unwrap().push(step.to_string());
    for _ in 0..2 {
        deliver(std::slice::from_ref(&image), &store, &kept, &blobs, &on_step).unwrap();
    }
    assert_eq!(
        *steps.lock().unwrap(),
        [Step::Blobs.to_string()],
        "the second time there is nothing to do"
    );
    for piece in image.pieces() {
        assert_eq!(blobs.verify(&piece.digest).unwrap().size, piece.size);
    }
    assert_eq!(blobs.verify(&store.digest).unwrap().size, store.size);
}

#[test]
fn a_record_counts_only_with_all_its_blobs() {
    let dir = tempfile::tempdir().unwrap();
    let dir = Utf8Path::from_path(dir.path()).unwrap();
    let (kept, image) = kept(dir);
    let cache = Cache::lock(&dir.join("cache")).unwrap();
    let recipe = recipes().remove(0);
    assert!(recorded(&cache, &kept, &recipe).is_none());
    let layer = image.layers[0].digest;
    let record = Record { image, diff_ids: vec![digest_of(b"unpacked")] };
    let entry = cache.entry_or(recipe.name, &recipe.key, |new| {
        fs::write(new.join(RECORD), serde_json::to_vec(&record).unwrap()).unwrap();
        Ok(())
    });
    assert!(recorded(&cache, &kept, &recipe).is_some());
    kept.delete(&layer).unwrap();
    assert!(recorded(&cache, &kept, &recipe).is_none());
    fs::write(entry.unwrap().join(RECORD), "half").unwrap();
    assert!(recorded(&cache, &kept, &recipe).is_none());
}

#[test]
fn what_is_damaged_in_the_state_or_in_the_cache_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let dir = Utf8Path::from_path(dir.path()).unwrap();
    let (kept, image) = kept(dir);
    let store = store_image(&kept);
    let blobs = Blobs::open(dir.join("state")).unwrap();
    let record = Record { image: image.clone(), diff_ids: vec![digest_of(b"unpacked")] };
    let give = || deliver(std::slice::from_ref(&image), &store, &kept, &blobs, &|_| ()).unwrap();
    let forget = || {
        let records = std::slice::from_ref(&record);
        forget_damaged(records, Some(&store), &kept, &blobs).unwrap()
    };
    assert!(!forget(), "a new state lacks all, and the cache is well");
    give();
    assert!(!forget());
    // The state's own bytes: the cache has it still.
    let layer = image.layers[0].digest;
    blobs.delete(&layer).unwrap();
    fs::write(blobs.path(&layer), "lazer").unwrap();
    assert!(!forget());
    assert_eq!((blobs.stat(&layer).unwrap(), kept.stat(&layer).unwrap()), (None, Some(5)));
    give();
    blobs.verify(&layer).unwrap();
    // One file with two names: both are damaged.
    fs::write(blobs.path(&store.digest), "squashfz").unwrap();
    assert!(forget());
    assert_eq!(
        (blobs.stat(&store.digest).unwrap(), kept.stat(&store.digest).unwrap()),
        (None, None)
    );
}
