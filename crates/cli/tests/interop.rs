//! `weir interop`: client to server in everything that both speak, and what makes a client fail.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod common;

use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use common::{Running, lines, run, scratch, text};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::Value;

/// The name that the server's certificate is for.
const NAME: &str = "server.example";

/// An authority, a certificate from it, files to serve, and a place for what is fetched.
struct Place {
    dir: PathBuf,
}

impl Place {
    fn new(name: &str) -> Self {
        let dir = scratch(name);
        for inside in ["www", "got"] {
            std::fs::create_dir(dir.join(inside)).unwrap();
        }
        authority(
            &dir,
            "ca.pem",
            Some((&dir.join("cert.pem"), &dir.join("key.pem"))),
        );
        let place = Self { dir };
        place.file("small", 1000);
        place
    }

    /// Puts a file into the served directory, whose bytes depend on their places.
    fn file(&self, name: &str, length: u32) {
        let bytes: Vec<u8> = (0..length)
            .map(|at| (at ^ (at >> 8)).to_le_bytes()[0])
            .collect();
        std::fs::write(self.dir.join("www").join(name), bytes).unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).to_str().unwrap().to_owned()
    }

    fn serve(&self, options: &[&str]) -> (Running, String) {
        let (cert, key, www) = (
            self.path("cert.pem"),
            self.path("key.pem"),
            self.path("www"),
        );
        let args = [
            "interop",
            "server",
            "--addr",
            "127.0.0.1:0",
            "--cert",
            &cert,
            "--key",
            &key,
            "--www",
            &www,
            "--json",
        ];
        let mut server = Running::start(&[&args[..], options].concat());
        let address = server.listening();
        (server, address)
    }

    fn fetch(&self, address: &str, ca: &str, options: &[&str]) -> Output {
        let (ca, out) = (self.path(ca), self.path("got"));
        let args = [
            "interop",
            "client",
            "--connect",
            address,
            "--name",
            NAME,
            "--ca",
            &ca,
            "--out",
            &out,
            "--json",
        ];
        run(&[&args[..], options].concat())
    }

    /// Whether the file came whole, under the name that it has here.
    fn has(&self, name: &str) -> bool {
        let served = std::fs::read(self.dir.join("www").join(name)).unwrap();
        let path = self.dir.join("got").join(name);
        std::fs::read(path).is_ok_and(|got| got == served)
    }

    fn fetched(&self) -> usize {
        std::fs::read_dir(self.dir.join("got")).unwrap().count()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Writes an authority's certificate, and one that it issued for [`NAME`].
fn authority(dir: &Path, name: &str, leaf: Option<(&Path, &Path)>) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(dir.join(name), ca.pem()).unwrap();
    if let Some((cert, key)) = leaf {
        let pair = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        std::fs::write(cert, params.signed_by(&pair, &ca).unwrap().pem()).unwrap();
        std::fs::write(key, pair.serialize_pem()).unwrap();
    }
}

/// The lines of the client's connections.
fn connections(output: &Output) -> Vec<Value> {
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let all = lines(&output.stdout).into_iter();
    all.filter(|line| line.get("alpn").is_some()).collect()
}

/// A relay to `server` that counts the Retry packets (RFC 9000 section 17.2.5) of one client.
fn relay(server: SocketAddr) -> (String, Arc<AtomicUsize>) {
    let (outside, inside) = (socket(), socket());
    inside.connect(server).unwrap();
    let address = outside.local_addr().unwrap().to_string();
    let retries = Arc::new(AtomicUsize::new(0));
    let (back, ahead) = (outside.try_clone().unwrap(), inside.try_clone().unwrap());
    let (client, counter) = (Arc::new(OnceLock::new()), Arc::clone(&retries));
    let known = Arc::clone(&client);
    std::thread::spawn(move || {
        let mut room = [0; 65_536];
        while let Ok((length, from)) = outside.recv_from(&mut room) {
            let _ = known.set(from);
            let _ = ahead.send(&room[..length]);
        }
    });
    std::thread::spawn(move || {
        let mut room = [0; 65_536];
        while let Ok(length) = inside.recv(&mut room) {
            if room[0] & 0xf0 == 0xf0 {
                counter.fetch_add(1, Ordering::Relaxed);
            }
            if let Some(client) = client.get() {
                let _ = back.send_to(&room[..length], client);
            }
        }
    });
    (address, retries)
}

fn socket() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").unwrap()
}

fn ends_well(server: Running) {
    let ended = server.terminate();
    assert_eq!(ended.status.code(), Some(0), "{}", text(&ended.stderr));
}

#[test]
fn files_come_over_hq_interop_on_one_connection() {
    let place = Place::new("interop-hq");
    place.file("large", 700_000);
    std::fs::create_dir(place.dir.join("www/sub")).unwrap();
    std::fs::write(place.dir.join("www/sub/one"), b"1").unwrap();
    let (server, address) = place.serve(&[]);
    let options = ["--alpn", "hq-interop", "/small", "/large", "/sub/one"];
    let output = place.fetch(&address, "ca.pem", &options);
    let made = connections(&output);
    assert_eq!(made.len(), 1);
    assert_eq!(made[0]["alpn"], "hq-interop");
    assert!(place.has("small") && place.has("large"));
    assert_eq!(std::fs::read(place.dir.join("got/sub_one")).unwrap(), b"1");
    assert_eq!(place.fetched(), 3);
    ends_well(server);
}

#[test]
fn files_come_over_h3() {
    let place = Place::new("interop-h3");
    place.file("large", 700_000);
    let (server, address) = place.serve(&[]);
    let output = place.fetch(&address, "ca.pem", &["--alpn", "h3", "/small", "/large"]);
    assert_eq!(connections(&output)[0]["alpn"], "h3");
    assert!(place.has("small") && place.has("large"));
    ends_well(server);
}

#[test]
fn perf_gives_as_many_bytes_as_were_asked_for() {
    // draft-banks-quic-performance 2.3
    let place = Place::new("interop-perf");
    let (server, address) = place.serve(&[]);
    let output = place.fetch(
        &address,
        "ca.pem",
        &["--alpn", "perf", "0", "1000000", "7+500000"],
    );
    assert_eq!(connections(&output).len(), 1);
    let mut bytes: Vec<u64> = lines(&output.stdout)
        .iter()
        .filter_map(|line| line["bytes"].as_u64())
        .collect();
    bytes.sort_unstable();
    assert_eq!(bytes, [0, 7, 1_000_000]);
    ends_well(server);
}

#[test]
fn a_quack_is_answered() {
    let place = Place::new("interop-siduck");
    let (server, address) = place.serve(&[]);
    let output = place.fetch(&address, "ca.pem", &["--alpn", "siduck"]);
    assert_eq!(connections(&output)[0]["alpn"], "siduck");
    ends_well(server);
}

#[test]
fn a_retry_is_followed() {
    // RFC 9000 8.1.2
    let place = Place::new("interop-retry");
    let (server, address) = place.serve(&["--retry"]);
    let (relay, retries) = relay(address.parse().unwrap());
    let output = place.fetch(&relay, "ca.pem", &["--version", "v1", "/small"]);
    assert_eq!(connections(&output).len(), 1);
    assert!(place.has("small"));
    assert!(retries.load(Ordering::Relaxed) >= 1);
    ends_well(server);
}

#[test]
fn a_second_connection_resumes_and_sends_early_data() {
    // RFC 9001 4.6
    let place = Place::new("interop-early");
    place.file("second", 2000);
    let (server, address) = place.serve(&[]);
    let made =
        connections(&place.fetch(&address, "ca.pem", &["--early-data", "/small", "/second"]));
    assert_eq!(
        (made[0]["resumed"].as_bool(), made[1]["resumed"].as_bool()),
        (Some(false), Some(true))
    );
    assert_eq!(made[1]["early_data"], true);
    let made = connections(&place.fetch(&address, "ca.pem", &["--resume", "/small", "/second"]));
    assert_eq!(made[1]["resumed"], true);
    assert_eq!(made[1]["early_data"], Value::Null);
    assert!(place.has("small") && place.has("second"));
    ends_well(server);
}

#[test]
fn a_server_that_prefers_version_2_gets_it() {
    // RFC 9368 2.3
    let place = Place::new("interop-v2");
    let (server, address) = place.serve(&["--version", "v2,v1"]);
    let made = connections(&place.fetch(&address, "ca.pem", &["--version", "v1,v2", "/small"]));
    assert_eq!(made[0]["version"], "0x6b3343cf");
    ends_well(server);
}

#[test]
fn a_server_that_the_authority_does_not_know_is_refused() {
    let place = Place::new("interop-ca");
    authority(&place.dir, "other.pem", None);
    let (server, address) = place.serve(&[]);
    let output = place.fetch(&address, "other.pem", &["/small"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("certificate"),
        "{}",
        text(&output.stderr)
    );
    assert_eq!(place.fetched(), 0);
    ends_well(server);
}

#[test]
fn a_file_that_is_not_there_fails_the_client() {
    let place = Place::new("interop-missing");
    let (server, address) = place.serve(&[]);
    for alpn in ["hq-interop", "h3"] {
        let output = place.fetch(&address, "ca.pem", &["--alpn", alpn, "/small", "/none"]);
        assert_eq!(output.status.code(), Some(1), "{alpn}");
        assert!(
            text(&output.stderr).contains("none"),
            "{}",
            text(&output.stderr)
        );
    }
    // What came whole is there, what did not is not.
    assert!(place.has("small"));
    assert_eq!(place.fetched(), 1);
    ends_well(server);
}
