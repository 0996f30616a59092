//! `weir key`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod common;

use common::{finish, json, run, scratch, text, weir};

#[test]
fn a_key_is_made_once_and_kept() {
    let file = scratch("key").join("sub").join("key");
    let path = file.to_str().unwrap();
    let first = json(&["key", "--out", path, "--json"]);
    assert_eq!(first[0]["created"], true);
    assert!(
        first[0]["peer_id"]
            .as_str()
            .unwrap()
            .starts_with("12D3KooW")
    );
    let second = json(&["key", "--out", path, "--json"]);
    assert_eq!(second[0]["created"], false);
    assert_eq!(second[0]["peer_id"], first[0]["peer_id"]);
    let people = run(&["key", "--out", path]);
    assert_eq!(
        text(&people.stdout).trim(),
        first[0]["peer_id"].as_str().unwrap()
    );
}

#[test]
fn without_a_name_it_is_in_the_users_configuration() {
    let config = scratch("config");
    let mut command = weir(&["key", "--json"]);
    command.env("XDG_CONFIG_HOME", &config);
    assert!(finish(command).status.success());
    assert!(config.join("weir").join("key").is_file());
}

#[cfg(unix)]
#[test]
fn only_the_owner_can_read_it_and_one_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let file = scratch("mode").join("key");
    let path = file.to_str().unwrap();
    json(&["key", "--out", path, "--json"]);
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    let output = run(&["key", "--out", path]);
    assert_eq!(output.status.code(), Some(1));
    let words = text(&output.stderr);
    assert!(
        words.contains("chmod 600") && words.contains(path),
        "{words}"
    );
}

#[test]
fn a_file_that_is_no_key_is_left_alone() {
    let file = scratch("nokey").join("key");
    std::fs::write(&file, "my diary").unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let output = run(&["key", "--out", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "my diary");
}
