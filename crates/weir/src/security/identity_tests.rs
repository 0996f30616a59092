//! The key file: its modes, its text, and what is refused.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use super::*;

/// A folder of its own under the system's temporary one, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("weir-key-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Folder(path)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_saved_key_is_private_and_comes_back() {
    let folder = Folder::new("round");
    let path = folder.at("new/sub/key");
    let identity = Identity::generate().unwrap();
    identity.save_new(&path).unwrap();
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&folder.at("new")), 0o700);
    assert_eq!(mode(&folder.at("new/sub")), 0o700);
    let loaded = Identity::load(&path).unwrap();
    assert_eq!(loaded.peer_id(), identity.peer_id());
    let signature = loaded.sign(b"hello").unwrap();
    assert!(identity.public_key().verify(b"hello", &signature));
    assert!(identity.peer_id().to_string().starts_with("12D3KooW"));
}

#[test]
fn a_key_is_never_overwritten() {
    let folder = Folder::new("exists");
    let path = folder.at("key");
    fs::write(&path, "precious").unwrap();
    let error = Identity::generate().unwrap().save_new(&path).unwrap_err();
    assert!(matches!(error, KeyError::Exists { .. }), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    // Nor is what a symbolic link points to, even when there is nothing yet.
    let link = folder.at("link");
    symlink(folder.at("elsewhere"), &link).unwrap();
    let error = Identity::generate().unwrap().save_new(&link).unwrap_err();
    assert!(matches!(error, KeyError::Exists { .. }), "{error}");
    assert!(!folder.at("elsewhere").exists());
}

#[test]
fn a_key_open_to_others_is_refused_with_the_command_that_helps() {
    let folder = Folder::new("modes");
    let path = folder.at("the key");
    Identity::generate().unwrap().save_new(&path).unwrap();
    for open in [0o640, 0o604, 0o644, 0o620, 0o610, 0o777] {
        set_mode(&path, open);
        let error = Identity::load(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("mode {open:04o}")), "{error}");
        let help = format!("`chmod 600 '{}'`", path.display());
        assert!(error.contains(&help), "{error}");
    }
    for private in [0o600, 0o400, 0o700] {
        set_mode(&path, private);
        Identity::load(&path).unwrap();
    }
}

#[test]
fn load_or_create_makes_a_key_once() {
    let folder = Folder::new("create");
    let path = folder.at("config/weir/key");
    let made = Identity::load_or_create(&path).unwrap();
    let loaded = Identity::load_or_create(&path).unwrap();
    assert_eq!(made.peer_id(), loaded.peer_id());
    set_mode(&path, 0o644);
    let error = Identity::load_or_create(&path).unwrap_err();
    assert!(matches!(error, KeyError::Exposed { .. }), "{error}");
}

#[test]
fn what_is_no_key_is_refused_in_words() {
    let folder = Folder::new("broken");
    let missing = Identity::load(folder.at("key")).unwrap_err();
    assert!(matches!(missing, KeyError::NotFound { .. }), "{missing}");
    assert!(missing.to_string().contains("weir key"), "{missing}");

    let path = folder.at("bad");
    let good = Identity::generate().unwrap().to_pem().unwrap().to_string();
    for (text, what) in [
        (String::new(), "no `BEGIN PRIVATE KEY`"),
        ("ssh-ed25519 AAAA".into(), "no `BEGIN PRIVATE KEY`"),
        (good.replace("PRIVATE", "PUBLIC"), "no `BEGIN PRIVATE KEY`"),
        (good.replace("\nMC4", "\nMC5"), "not an Ed25519 key"),
        (good.replace("\nMC4", "\nM*4"), "damaged"),
        (good.replace("-----END", ""), "damaged"),
        ("x".repeat(20_000), "too long"),
    ] {
        fs::write(&path, text).unwrap();
        set_mode(&path, 0o600);
        let error = Identity::load(&path).unwrap_err().to_string();
        assert!(error.contains(what), "{what}: {error}");
    }
    set_mode(&folder.0, 0o700);
    let error = Identity::load(&folder.0).unwrap_err().to_string();
    assert!(error.contains("not an ordinary file"), "{error}");
}

#[test]
fn openssl_and_weir_read_each_others_keys() {
    let folder = Folder::new("openssl");
    let openssl = |args: &[&str]| Command::new("openssl").args(args).output();
    let theirs = folder.at("theirs");
    let made = openssl(&[
        "genpkey",
        "-algorithm",
        "ed25519",
        "-out",
        theirs.to_str().unwrap(),
    ]);
    if !made.is_ok_and(|m| m.status.success()) {
        eprintln!("no openssl with Ed25519 here, nothing to compare with");
        return;
    }
    set_mode(&theirs, 0o600);
    Identity::load(&theirs).unwrap();

    let ours = folder.at("ours");
    let identity = Identity::generate().unwrap();
    identity.save_new(&ours).unwrap();
    let shown = openssl(&[
        "pkey",
        "-in",
        ours.to_str().unwrap(),
        "-pubout",
        "-outform",
        "DER",
    ]);
    let der = shown.unwrap().stdout;
    // A SubjectPublicKeyInfo ends in the key itself, as the protobuf form does.
    let key = identity.public_key().to_protobuf();
    assert_eq!(der[der.len() - 32..], key[key.len() - 32..]);
}

#[test]
fn the_usual_place_follows_xdg() {
    let path = |p: &str| Some(PathBuf::from(p));
    let at = default_path_in(path("/conf"), path("/home/me"));
    assert_eq!(at, path("/conf/weir/key"));
    let at = default_path_in(None, path("/home/me"));
    assert_eq!(at, path("/home/me/.config/weir/key"));
    // The specification: a relative value is to be ignored.
    let at = default_path_in(path("conf"), path("/home/me"));
    assert_eq!(at, path("/home/me/.config/weir/key"));
    assert_eq!(default_path_in(None, None), None);
}

#[test]
fn nothing_shows_the_private_key() {
    let identity = Identity::generate().unwrap();
    let shown = format!("{identity:?}");
    assert_eq!(shown, format!("Identity({})", identity.peer_id()));
}
