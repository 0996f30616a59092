//! One of weir's peers in the side-by-side benchmark, as server or as client; `bench/run` starts it.

mod args;
mod line;
mod mux;
mod pipe;
mod tcp;
mod tls;
mod works;

use std::io;
use std::net::TcpStream as BlockingTcp;
use std::process::ExitCode;

use bench_common::report::{self, Outcome};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};

use args::{Args, Impl};
use works::Kept;

fn main() -> ExitCode {
    let args = match args::parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(fault) => {
            eprintln!("{fault}\n{}", args::USAGE);
            return ExitCode::from(2);
        }
    };
    let done = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .and_then(|runtime| {
            if args.server {
                runtime.block_on(serve(&args))
            } else {
                runtime.block_on(measure(&args))
            }
        });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", args.which.name());
            ExitCode::FAILURE
        }
    }
}

async fn serve(args: &Args) -> io::Result<()> {
    let listener = TcpListener::bind(&args.addr).await?;
    println!(
        "{{\"listening\":\"{}\",\"impl\":\"{}\"}}",
        listener.local_addr()?,
        args.which.name()
    );
    let (mut term, mut int) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let tls = tls::server_config()?;
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (tcp, _) = accepted?;
                tcp.set_nodelay(true)?;
                serve_connection(args, tcp, &tls)?;
            }
            _ = term.recv() => break,
            _ = int.recv() => break,
        }
    }
    report::print_server();
    // Threads may sit in blocking calls; there is nothing to wait for.
    std::process::exit(0);
}

fn serve_connection(
    args: &Args,
    tcp: TcpStream,
    tls: &std::sync::Arc<rustls::ServerConfig>,
) -> io::Result<()> {
    match args.which {
        Impl::YamuxCrate => {
            let kept = Kept::new();
            mux::yamux_session(tcp, true, move |stream| kept.take(stream));
        }
        Impl::TokioYamux => {
            let kept = Kept::new();
            mux::tokio_yamux_session(tcp, true, move |stream| kept.take(stream));
        }
        Impl::Line => {
            tokio::spawn(line::serve(tcp));
        }
        Impl::Tcp => {
            tokio::spawn(tcp::serve(tcp));
        }
        which => {
            let (tcp, tls) = (blocking(tcp)?, tls.clone());
            std::thread::spawn(move || match which {
                Impl::TcpBlocking => pipe::serve(&mut pipe::Plain::new(tcp)),
                Impl::Rustls => pipe::serve(&mut tls::Buffered::server(tcp, tls)?),
                _ => pipe::serve(&mut tls::unbuffered_server(tcp, tls)?),
            });
        }
    }
    Ok(())
}

fn blocking(tcp: TcpStream) -> io::Result<BlockingTcp> {
    let tcp = tcp.into_std()?;
    tcp.set_nonblocking(false)?;
    Ok(tcp)
}

async fn measure(args: &Args) -> io::Result<()> {
    let tcp = TcpStream::connect(&args.addr).await?;
    tcp.set_nodelay(true)?;
    let outcome: Outcome = match args.which {
        // A task of its own: what `block_on` itself polls is woken by a slower way.
        Impl::YamuxCrate => {
            spawned(args, move |args| async move {
                works::measure(mux::yamux_session(tcp, false, drop), &args).await
            })
            .await?
        }
        Impl::TokioYamux => {
            spawned(args, move |args| async move {
                works::measure(mux::tokio_yamux_session(tcp, false, drop), &args).await
            })
            .await?
        }
        Impl::Tcp => {
            spawned(
                args,
                move |args| async move { tcp::measure(tcp, &args).await },
            )
            .await?
        }
        Impl::Line => {
            spawned(
                args,
                move |args| async move { line::measure(tcp, &args).await },
            )
            .await?
        }
        Impl::TcpBlocking => pipe::measure(&mut pipe::Plain::new(blocking(tcp)?), args)?,
        Impl::Rustls => pipe::measure(&mut tls::Buffered::client(blocking(tcp)?)?, args)?,
        Impl::RustlsUnbuffered => {
            pipe::measure(&mut tls::unbuffered_client(blocking(tcp)?)?, args)?
        }
    };
    report::print(
        args.which.name(),
        args.which.via(),
        &args.work_name,
        &outcome,
    );
    std::process::exit(0);
}

async fn spawned<F, T>(args: &Args, work: F) -> io::Result<Outcome>
where
    F: FnOnce(Args) -> T,
    T: Future<Output = io::Result<Outcome>> + Send + 'static,
{
    tokio::spawn(work(args.clone())).await?
}
