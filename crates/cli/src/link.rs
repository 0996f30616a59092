//! What every command needs that opens connections: an endpoint, and the instruments that watch it.

use crate::args::Seen;
use crate::out::{Failure, json_line, say};
use crate::shutdown::Signals;
use serde::Serialize;
use std::time::Duration;
use weir::trace::TraceOptions;
use weir::{Builder, Config, ConnectError, Endpoint, EndpointError, Via};

pub(crate) use weir::trace::Instruments;

/// Sets up what `--qlog`, `--keylog`, `--pcap`, `-v` and `-vv` ask for. `SSLKEYLOGFILE` is honoured by
/// the endpoints themselves.
pub(crate) fn instruments(seen: &Seen) -> Result<Instruments, Failure> {
    // An empty variable is how shells take one back.
    let variable = || std::env::var_os("QLOGDIR").filter(|value| !value.is_empty());
    let options = TraceOptions {
        qlog: seen.qlog.clone().or_else(|| variable().map(Into::into)),
        pcap: seen.pcap.clone(),
        key_log: seen.keylog.clone(),
        log: true,
    };
    Instruments::new(&options)
        .map_err(|error| Failure::failed(error).hint("name a place that this user may write to"))
}

/// An endpoint with a fresh identity unless it is given another, with the instruments on it.
pub(crate) fn builder(via: Via, instruments: &Instruments) -> Builder {
    instruments.attach(Endpoint::builder().via(via))
}

#[derive(Serialize)]
struct Listening {
    listening: String,
    via: String,
    peer_id: String,
}

/// A measuring or echoing server: its endpoint, and what ends it.
pub(crate) struct Server {
    pub(crate) endpoint: Endpoint,
    pub(crate) instruments: Instruments,
    pub(crate) signals: Signals,
}

impl Server {
    /// Binds `addr` and says so, as a line of JSON or to a person who is told that this is `name`.
    pub(crate) async fn bind(
        name: &str,
        addr: &str,
        via: Via,
        config: Config,
        seen: &Seen,
        json: bool,
    ) -> Result<Server, Failure> {
        // A limit that stays where it is only bounds how many connections can be held.
        let _ = weir_os::lift_open_files();
        let signals = Signals::catch()
            .map_err(|error| Failure::failed(format!("signals cannot be caught: {error}")))?;
        let instruments = instruments(seen)?;
        let endpoint = builder(via, &instruments).config(config).bind(addr).await?;
        let listening = endpoint.local_addr().to_string();
        if json {
            let (via, peer_id) = (via.to_string(), endpoint.peer_id().to_string());
            json_line(&Listening {
                listening,
                via,
                peer_id,
            });
        } else {
            say(format_args!(
                "{name} via {via} on {listening}; stop it with Ctrl-C"
            ));
        }
        Ok(Server {
            endpoint,
            instruments,
            signals,
        })
    }

    /// Runs `accept` until SIGTERM or Ctrl-C, then ends all connections.
    pub(crate) async fn run(mut self, accept: impl Future<Output = ()>) {
        tokio::select! {
            () = accept => {}
            _ = self.signals.next() => {}
        }
        close(&self.endpoint, "the server was stopped", &self.instruments).await;
    }
}

/// How long the last words to the peers may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// Ends an endpoint's connections and writes out what the instruments saw of them.
pub(crate) async fn close(endpoint: &Endpoint, reason: &str, instruments: &Instruments) {
    endpoint.close(0, reason);
    // A peer that takes nothing any more is left to find out by itself.
    let _ = tokio::time::timeout(FAREWELL, endpoint.wait_idle()).await;
    instruments.finish();
}

impl From<EndpointError> for Failure {
    fn from(error: EndpointError) -> Self {
        Failure::failed(error)
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        Failure::failed(error)
    }
}
