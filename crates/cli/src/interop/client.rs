//! The fetching end.

use super::{Alpn, ClientArgs, files, h3, hq, perf, siduck, speaking};
use crate::link::{self, Instruments};
use crate::out::{Failure, Outcome, json_line, say};
use serde::Serialize;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use weir::{ConnectOptions, Connection, Endpoint, Target, Via};

/// How long a server may take to give a ticket after it has answered.
const TICKET: Duration = Duration::from_secs(5);
/// How often it is looked for what has no event of its own.
const LOOK: Duration = Duration::from_millis(2);
/// RFC 9114 section 8.1: nothing went wrong.
const H3_NO_ERROR: u64 = 0x100;

#[derive(Serialize)]
struct FileLine<'a> {
    path: &'a str,
    bytes: u64,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

#[derive(Serialize)]
struct ConnectionLine {
    alpn: String,
    version: String,
    resumed: bool,
    early_data: Option<bool>,
    local: String,
    remote: String,
    rtt_ms: Option<f64>,
    datagrams_sent: u64,
    datagrams_received: u64,
    packets_lost: u64,
    migrations: u64,
    key_updates: u64,
    secs: f64,
}

/// Runs `weir interop client`.
pub(super) async fn run(args: &ClientArgs) -> Outcome {
    check(args)?;
    std::fs::create_dir_all(&args.out).map_err(|error| {
        Failure::failed(format!("{} cannot be made: {error}", args.out.display()))
    })?;
    let instruments = link::instruments(&args.seen)?;
    let mut client = Client::new(args, &instruments).await?;
    let done = tokio::time::timeout(args.timeout, client.run()).await;
    let outcome = done.unwrap_or_else(|_| {
        let secs = args.timeout.as_secs_f32();
        Err(Failure::failed(format!("it was not done after {secs} s")))
    });
    link::close(&client.endpoint, "", &instruments).await;
    outcome
}

fn check(args: &ClientArgs) -> Result<(), Failure> {
    if args.alpn == Alpn::Perf {
        for path in &args.paths {
            perf::parse(path).map_err(Failure::usage)?;
        }
    }
    if let Some(first) = args.begin_with
        && !args.transport.versions().contains(&first.0)
    {
        return Err(Failure::usage("--begin-with names none of --version"));
    }
    if args.paths.is_empty() && args.alpn != Alpn::Siduck {
        return Err(Failure::usage("there is nothing to fetch: name a PATH"));
    }
    if (args.resume || args.early_data) && args.paths.len() < 2 && args.alpn != Alpn::Siduck {
        let words = "two connections are for two PATHs and more";
        return Err(Failure::usage(words));
    }
    Ok(())
}

struct Client<'a> {
    args: &'a ClientArgs,
    instruments: &'a Instruments,
    target: Target,
    endpoint: Endpoint,
}

impl<'a> Client<'a> {
    async fn new(args: &'a ClientArgs, instruments: &'a Instruments) -> Result<Self, Failure> {
        Ok(Client {
            args,
            instruments,
            target: Target {
                peer: None,
                host: args.name.clone(),
                port: args.connect.port(),
            },
            endpoint: endpoint(args, instruments).await?,
        })
    }

    async fn run(&mut self) -> Outcome {
        let paths = &self.args.paths;
        if self.args.many {
            for path in paths {
                self.fetch(std::slice::from_ref(path), false).await?;
                // A fresh one knows nothing of the servers that this one met.
                let next = endpoint(self.args, self.instruments).await?;
                let last = std::mem::replace(&mut self.endpoint, next);
                tokio::spawn(async move { last.wait_idle().await });
            }
            return Ok(());
        }
        if !self.args.resume && !self.args.early_data {
            return self.fetch(paths, false).await;
        }
        let (first, rest) = paths.split_at(paths.len().min(1));
        self.fetch(first, false).await?;
        self.fetch(rest, self.args.early_data).await
    }

    /// Fetches `paths` on a connection.
    async fn fetch(&self, paths: &[String], early_data: bool) -> Outcome {
        let began = Instant::now();
        let options = ConnectOptions {
            address: Some(self.args.connect),
            early_data,
        };
        let connection = self.endpoint.connect_with(&self.target, &options).await?;
        let fetching = async {
            match self.args.alpn {
                Alpn::HqInterop => self.fetch_hq(&connection, paths).await,
                Alpn::H3 => self.fetch_h3(&connection, paths).await,
                Alpn::Perf => self.fetch_perf(&connection, paths).await,
                Alpn::Siduck => match siduck::ask(&connection).await {
                    Ok(()) => Ok(()),
                    Err(error) => Err(Failure::failed(error)),
                },
            }
        };
        let done = tokio::select! {
            done = fetching => done,
            never = self.disturb(&connection) => never,
        };
        let wants_ticket = (self.args.resume || self.args.early_data) && done.is_ok();
        if wants_ticket && !early_data {
            self.wait_for_ticket().await;
        }
        if self.args.common.json {
            json_line(&describe(&connection, began));
        }
        let code = if self.args.alpn == Alpn::H3 {
            H3_NO_ERROR
        } else {
            0
        };
        connection.close(code, "");
        done
    }

    /// What was asked for to happen meanwhile. It never ends.
    async fn disturb(&self, connection: &Connection) -> Outcome {
        let updating = async {
            // Permitted once the handshake is confirmed (RFC 9001 section 6.1).
            while self.args.key_update && !connection.update_keys() {
                sleep(LOOK).await;
            }
        };
        let moving = async {
            let Some(after) = self.args.rebind else {
                return;
            };
            sleep_until(Instant::now() + after).await;
            match self.endpoint.rebind(anywhere(self.args)).await {
                Ok(local) => say(format_args!("moved to {local}")),
                Err(error) => say(format_args!("could not move: {error}")),
            }
        };
        tokio::join!(updating, moving);
        std::future::pending().await
    }

    async fn wait_for_ticket(&self) {
        let until = Instant::now() + TICKET;
        while !self.endpoint.can_resume(&self.target) && Instant::now() < until {
            sleep(LOOK).await;
        }
    }

    async fn fetch_hq(&self, connection: &Connection, paths: &[String]) -> Outcome {
        let mut running = JoinSet::new();
        for path in paths {
            // One request after the other, with no wait for the disk between, so that they share
            // packets; it waits when the server wants no more at once.
            let recv = hq::ask(connection, path).await.map_err(Failure::failed)?;
            let (path, out) = (path.clone(), self.args.out.clone());
            running.spawn(async move {
                let took = hq::take(recv, &out, &path).await.map(|got| got.bytes);
                (path, took)
            });
        }
        self.gather(running).await
    }

    async fn fetch_h3(&self, connection: &Connection, paths: &[String]) -> Outcome {
        let client = h3::Client::new(connection.clone(), &self.args.name).await;
        let client = client.map_err(Failure::failed)?;
        let mut running = JoinSet::new();
        for path in paths {
            let fetching = client.fetch(path, &self.args.out);
            let path = path.clone();
            running.spawn(async move { (path, fetching.await.map(|got| got.bytes)) });
        }
        self.gather(running).await
    }

    async fn fetch_perf(&self, connection: &Connection, paths: &[String]) -> Outcome {
        let mut running = JoinSet::new();
        for path in paths {
            let (down, up) = perf::parse(path).map_err(Failure::usage)?;
            let (connection, path) = (connection.clone(), path.clone());
            running.spawn(async move { (path, perf::ask(&connection, down, up).await) });
        }
        self.gather(running).await
    }

    /// Waits for all and tells what came.
    async fn gather(&self, mut running: JoinSet<(String, Result<u64, String>)>) -> Outcome {
        let (mut count, mut failed) = (0_usize, Vec::new());
        while let Some(ended) = running.join_next().await {
            count += 1;
            let (path, result) = ended.map_err(Failure::failed)?;
            if self.args.common.json {
                json_line(&FileLine {
                    path: &path,
                    bytes: *result.as_ref().unwrap_or(&0),
                    ok: result.is_ok(),
                    error: result.as_ref().err().map(String::as_str),
                });
            }
            if let Err(error) = result {
                failed.push(format!("{path}: {error}"));
            }
        }
        match failed.first() {
            None => Ok(()),
            Some(first) => {
                let words = format!("{} of {count} did not come: {first}", failed.len());
                Err(Failure::failed(words))
            }
        }
    }
}

async fn endpoint(args: &ClientArgs, instruments: &Instruments) -> Result<Endpoint, Failure> {
    let mut config = args.transport.config();
    // A client that only asks has nothing that larger packets would carry; probing for them would be
    // most of what it sends.
    config.quic.discover_mtu = args.alpn == Alpn::Perf;
    config.quic.first_version = args.begin_with.map(|version| version.0);
    let builder = link::builder(Via::Quic, instruments)
        .config(config)
        .roots(files::roots(&args.ca)?)
        .early_data(args.early_data);
    let endpoint = speaking(builder, &[args.alpn]).client().await?;
    // A socket of the server's family: not every system lets the ECN field of IPv4 be written on one
    // that speaks both.
    endpoint.rebind(anywhere(args)).await?;
    Ok(endpoint)
}

/// Any local address of the server's family.
fn anywhere(args: &ClientArgs) -> &'static str {
    match args.connect.is_ipv6() {
        true => "[::]:0",
        false => "0.0.0.0:0",
    }
}

fn describe(connection: &Connection, began: Instant) -> ConnectionLine {
    let handshake = connection.handshake().unwrap_or_default();
    let stats = connection.stats();
    let path = stats.path.unwrap_or_default();
    let alpn = handshake.alpn.unwrap_or_default();
    ConnectionLine {
        alpn: String::from_utf8_lossy(&alpn).into_owned(),
        version: format!("{:#010x}", handshake.version),
        resumed: handshake.resumed,
        early_data: handshake.early_data,
        local: connection.local_addr().to_string(),
        remote: connection.remote_addr().to_string(),
        rtt_ms: stats.rtt.map(|rtt| rtt.as_secs_f64() * 1e3),
        datagrams_sent: path.datagrams_sent,
        datagrams_received: path.datagrams_received,
        packets_lost: path.packets_lost,
        migrations: path.migrations,
        key_updates: path.key_updates,
        secs: began.elapsed().as_secs_f64(),
    }
}
