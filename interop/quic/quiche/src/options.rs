//! The command line, and quiche's settings that follow from it.

use crate::Fault;
use quiche::{Config, Connection};
use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;

/// Options without a value.
const FLAGS: [&str; 4] = ["retry", "resume", "early-data", "many"];
/// Bytes that a stream may carry before any were read, and all streams together.
const STREAM_WINDOW: u64 = 256 << 10;
const CONNECTION_WINDOW: u64 = 1 << 20;

pub struct Options {
    pub is_server: bool,
    values: HashMap<String, String>,
    flags: Vec<String>,
    pub paths: Vec<String>,
}

impl Options {
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Options, Fault> {
        let mut options = Options {
            is_server: words.next().ok_or("usage: quiche-peer server|client ..")? == "server",
            values: HashMap::new(),
            flags: Vec::new(),
            paths: Vec::new(),
        };
        while let Some(word) = words.next() {
            match word.strip_prefix("--") {
                None => options.paths.push(word),
                Some(flag) if FLAGS.contains(&flag) => options.flags.push(flag.to_owned()),
                Some(name) => {
                    let value = words.next().ok_or("an option's value is missing")?;
                    options.values.insert(name.to_owned(), value);
                }
            }
        }
        Ok(options)
    }

    pub fn value(&self, name: &str) -> Result<&str, Fault> {
        let found = self.values.get(name);
        Ok(found.ok_or_else(|| format!("--{name} is missing"))?)
    }

    pub fn path(&self, name: &str) -> Result<PathBuf, Fault> {
        self.value(name).map(PathBuf::from)
    }

    pub fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|given| given == flag)
    }

    pub fn is_http3(&self) -> bool {
        self.value("alpn").is_ok_and(|alpn| alpn == "h3")
    }

    pub fn config(&self) -> Result<Config, Fault> {
        let mut config = Config::new(quiche::PROTOCOL_VERSION)?;
        config.set_application_protos(&[self.value("alpn").unwrap_or("hq-interop").as_bytes()])?;
        if self.is_server {
            config.load_cert_chain_from_pem_file(self.value("cert")?)?;
            config.load_priv_key_from_pem_file(self.value("key")?)?;
        } else {
            config.load_verify_locations_from_file(self.value("ca")?)?;
            config.verify_peer(true);
        }
        config.set_max_idle_timeout(60_000);
        config.set_max_recv_udp_payload_size(1452);
        config.set_max_send_udp_payload_size(1452);
        config.set_initial_max_data(CONNECTION_WINDOW);
        config.set_initial_max_stream_data_bidi_local(STREAM_WINDOW);
        config.set_initial_max_stream_data_bidi_remote(STREAM_WINDOW);
        config.set_initial_max_stream_data_uni(STREAM_WINDOW);
        config.set_initial_max_streams_bidi(100);
        config.set_initial_max_streams_uni(100);
        config.set_active_connection_id_limit(4);
        // Nothing here holds packets back until their time, as pacing asks.
        config.enable_pacing(false);
        config.enable_early_data();
        config.log_keys();
        Ok(config)
    }

    /// Has the connection's secrets written.
    pub fn log_keys(&self, connection: &mut Connection) -> Result<(), Fault> {
        if let Ok(path) = self.value("keylog") {
            let file = File::options().create(true).append(true).open(path)?;
            connection.set_keylog(Box::new(file));
        }
        Ok(())
    }
}
