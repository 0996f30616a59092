//! quiche's settings.

use std::io;

use bench_common::{ALPN, CONNECTION_WINDOW, Certificate, Flags, STREAM_WINDOW};
use quiche::Config;

use crate::broken;

/// STREAM frames have a length of 2 bytes there: larger packets cannot be filled by one.
const LARGEST: usize = 16_383;

/// Settings of one side.
pub fn config(flags: &Flags) -> io::Result<Config> {
    let mut config = Config::new(quiche::PROTOCOL_VERSION).map_err(broken)?;
    config.set_application_protos(&[ALPN]).map_err(broken)?;
    // The handshake's signature is checked all the same.
    config.verify_peer(false);
    let datagram = usize::from(flags.mtu).min(LARGEST);
    config.set_max_recv_udp_payload_size(65_527);
    config.set_max_send_udp_payload_size(datagram);
    config.set_initial_max_data(CONNECTION_WINDOW.into());
    config.set_initial_max_stream_data_bidi_local(STREAM_WINDOW.into());
    config.set_initial_max_stream_data_bidi_remote(STREAM_WINDOW.into());
    config.set_max_connection_window(CONNECTION_WINDOW.into());
    config.set_max_stream_window(STREAM_WINDOW.into());
    config.set_initial_max_streams_bidi(flags.streams.into());
    config.set_max_idle_timeout(120_000);
    config.set_disable_active_migration(true);
    // Nothing here holds packets back until their time, as pacing asks: on loopback it only costs.
    config.enable_pacing(false);
    if flags.server {
        add_certificate(&mut config)?;
    }
    Ok(config)
}

/// It reads certificates from files alone.
fn add_certificate(config: &mut Config) -> io::Result<()> {
    let own = Certificate::new().map_err(broken)?;
    let path = std::env::temp_dir().join(format!("weir-bench-quiche-{}", std::process::id()));
    std::fs::write(&path, own.certificate_pem + &own.key_pem)?;
    let name = path.to_str().unwrap_or_default();
    let loaded = config
        .load_cert_chain_from_pem_file(name)
        .and_then(|()| config.load_priv_key_from_pem_file(name));
    std::fs::remove_file(&path)?;
    loaded.map_err(broken)
}
