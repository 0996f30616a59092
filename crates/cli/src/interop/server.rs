//! The serving end.

use super::files::{self, Www};
use super::{Alpn, ServerArgs, h3, hq, perf, siduck, speaking};
use crate::link;
use crate::out::{Failure, Outcome, json_line, say};
use crate::shutdown::Signals;
use serde::Serialize;
use std::net::{IpAddr, SocketAddrV4, SocketAddrV6};
use std::sync::Arc;
use weir::quic::{PreferredAddresses, RetryPolicy};
use weir::{Config, Connection, Via};

#[derive(Serialize)]
struct Listening<'a> {
    listening: String,
    via: &'a str,
    alpn: Vec<&'a str>,
}

/// Runs `weir interop server`.
pub(super) async fn run(args: &ServerArgs) -> Outcome {
    // A limit that stays where it is only bounds how many connections can be held.
    let _ = weir_os::lift_open_files();
    let mut signals = Signals::catch()
        .map_err(|error| Failure::failed(format!("signals cannot be caught: {error}")))?;
    let www = Arc::new(Www::open(&args.www)?);
    let chain = files::certificates(&args.cert)?;
    let key = files::private_key(&args.key)?;
    let instruments = link::instruments(&args.seen)?;
    let builder = link::builder(Via::Quic, &instruments)
        .config(config(args))
        .certificate(chain, key)
        .early_data(!args.no_early_data);
    let endpoint = speaking(builder, &args.alpn).bind(&args.addr).await?;
    let listening = endpoint.local_addr().to_string();
    if args.common.json {
        let alpn = args.alpn.iter().map(|alpn| alpn.as_str()).collect();
        json_line(&Listening {
            listening,
            via: "quic",
            alpn,
        });
    } else {
        say(format_args!(
            "interop server on {listening}; stop it with Ctrl-C"
        ));
    }
    let serving = async {
        while let Some(connection) = endpoint.accept().await {
            tokio::spawn(serve(connection, Arc::clone(&www)));
        }
    };
    tokio::select! {
        () = serving => {}
        _ = signals.next() => {}
    }
    link::close(&endpoint, "the server was stopped", &instruments).await;
    Ok(())
}

fn config(args: &ServerArgs) -> Config {
    let mut config = args.transport.config();
    if args.retry {
        config.quic.retry = RetryPolicy::Always;
    }
    let mut preferred = PreferredAddresses::default();
    for address in &args.preferred_address {
        match *address {
            IpAddr::V4(ip) => preferred.v4 = Some(SocketAddrV4::new(ip, 0)),
            IpAddr::V6(ip) => preferred.v6 = Some(SocketAddrV6::new(ip, 0, 0, 0)),
        }
    }
    config.quic.preferred = preferred;
    config
}

/// Serves one connection in what it speaks.
async fn serve(connection: Connection, www: Arc<Www>) {
    let spoken = connection
        .handshake()
        .and_then(|handshake| handshake.alpn)
        .unwrap_or_default();
    let is = |alpn: Alpn| spoken == alpn.as_str().as_bytes();
    if is(Alpn::HqInterop) {
        hq::serve(connection, www).await;
    } else if is(Alpn::Perf) {
        perf::serve(connection).await;
    } else if is(Alpn::Siduck) {
        siduck::serve(connection).await;
    } else if is(Alpn::H3) {
        h3::serve(connection, www).await;
    }
}
