//! Another TLS library as the peer, where its command line tool is installed.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tokio::net::{TcpListener, TcpStream};

use super::super::testing::{End, security};
use super::*;
use crate::security::{Identity, generate_certificate};

/// A process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn openssl(args: &[&str]) -> Option<Process> {
    let mut command = Command::new("openssl");
    command
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    match command.spawn() {
        Ok(child) => Some(Process(child)),
        Err(_) => {
            eprintln!("no openssl here, nothing to compare with");
            None
        }
    }
}

/// Certificate and key of an identity as files, removed at the end.
struct Files([PathBuf; 2]);

impl Files {
    fn new(identity: &Identity) -> Files {
        let (certificate, key) = generate_certificate(identity).unwrap();
        let name = |kind| format!("weir-{}-{kind}.der", identity.peer_id());
        let files = ["cert", "key"].map(|kind| std::env::temp_dir().join(name(kind)));
        std::fs::write(&files[0], certificate).unwrap();
        std::fs::write(&files[1], key.secret_der()).unwrap();
        Files(files)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        self.0
            .iter()
            .for_each(|file| drop(std::fs::remove_file(file)));
    }
}

#[tokio::test]
async fn an_openssl_server_is_a_peer() {
    let identity = Identity::generate().unwrap();
    let files = Files::new(&identity);
    let [certificate, key] = files.0.each_ref().map(|path| path.to_str().unwrap());
    let identify = [
        "-certform",
        "DER",
        "-cert",
        certificate,
        "-keyform",
        "DER",
        "-key",
        key,
    ];
    // -Verify: wants a certificate of the client. -rev: sends every line back reversed.
    let serve = [
        "s_server",
        "-accept",
        "127.0.0.1:0",
        "-alpn",
        "weir/1",
        "-Verify",
        "1",
        "-rev",
    ];
    let Some(mut server) = openssl(&[&serve[..], &identify].concat()) else {
        return;
    };
    let lines = BufReader::new(server.0.stdout.take().unwrap()).lines();
    let mut lines = lines.map_while(Result::ok);
    let Some(line) = lines.find(|line| line.starts_with("ACCEPT")) else {
        eprintln!("this openssl does not serve");
        return;
    };
    // It goes on to write, and must not be kept from it.
    std::thread::spawn(move || lines.count());
    let address = line.trim_start_matches("ACCEPT ").to_owned();

    let stream = TcpStream::connect(address).await.unwrap();
    let config = security().client(Some(identity.peer_id()), &[ALPN_WEIR]);
    let (carrier, info) = connect_tls(stream, config).await.unwrap();
    assert_eq!(info.peer_id, identity.peer_id());
    let mut end = End::new(carrier);
    // Its session tickets come in front of the answer.
    end.write_all(b"hello\n").await.unwrap();
    assert_eq!(end.read_exact(6).await.unwrap(), b"olleh\n");
}

/// What our server makes of this client.
async fn refused(args: &[&str]) -> Option<SecurityError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let _client =
        openssl(&[&["s_client", "-connect", &address, "-alpn", "weir/1"], args].concat())?;
    let (stream, _) = listener.accept().await.unwrap();
    accept_tls(stream, security().server(None, &[ALPN_WEIR]))
        .await
        .err()
}

#[tokio::test]
async fn an_openssl_client_without_identity_or_without_tls13_is_refused() {
    let Some(error) = refused(&["-tls1_3"]).await else {
        return;
    };
    assert!(matches!(error, SecurityError::NoCertificate), "{error}");
    let Some(error) = refused(&["-tls1_2"]).await else {
        return;
    };
    assert!(matches!(error, SecurityError::Incompatible(_)), "{error}");
    assert!(error.to_string().contains("nothing in common"), "{error}");
}
