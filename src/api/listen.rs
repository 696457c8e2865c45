//! Connections: accepted, limited, and ended when the process is asked to end.

use super::door::{Door, DoorOptions};
use super::entrance::Peer;
use super::limits::{CONNECTIONS, HEADER_BYTES, HEADER_TIME, HEADERS};
use super::router::router;
use crate::context::Interrupt;
use crate::error::{Error, Kind, Result};
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// How long open requests may take once nothing new is accepted.
const FAREWELL: Duration = Duration::from_secs(10);
/// How long accepting rests when the process has no file descriptor left.
const OUT_OF_FILES: Duration = Duration::from_millis(200);

/// A door that stands open.
pub struct Listening {
    /// Where.
    pub address: SocketAddr,
    listener: TcpListener,
    door: Arc<Door>,
    interrupt: Interrupt,
}

/// Opens the door; nothing is answered before [`Listening::serve`].
///
/// # Errors
/// The address cannot be had (exit 15).
pub async fn listen(address: SocketAddr, options: DoorOptions) -> Result<Listening> {
    let failed = |error: std::io::Error| {
        Error::new(Kind::Resources, format!("cannot listen on {address}"))
            .cause(error.to_string())
            .state("nothing was started")
            .next("choose another address with --listen; port 0 takes any free port")
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok(Listening {
        address,
        listener,
        interrupt: options.interrupt.clone(),
        door: Door::new(options, address),
    })
}

impl Listening {
    /// Answers until the process is asked to end and its session has come to a batch boundary.
    pub async fn serve(self) {
        let router = router(Arc::clone(&self.door));
        let graceful = GracefulShutdown::new();
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let door = Arc::clone(&self.door);
        let ending = async {
            self.interrupt.first().await;
            // Until the session is paused, others may watch it.
            door.runner.finish().await;
        };
        tokio::pin!(ending);
        loop {
            let accepting = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (self.listener.accept().await, place)
            };
            let ((accepted, place), ()) = tokio::select! {
                accepted = accepting => (accepted, ()),
                () = &mut ending => break,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(error = %error, "a connection cannot be accepted");
                    tokio::time::sleep(OUT_OF_FILES).await;
                    continue;
                }
            };
            let connection = graceful.watch(connection(&router, stream, peer));
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(error = %error, "a connection broke");
                }
                drop(place);
            });
        }
        drop(self.listener);
        self.door.closing.cancel();
        let _ = tokio::time::timeout(FAREWELL, graceful.shutdown()).await;
    }
}

type Conversation = http1::Connection<TokioIo<TcpStream>, TowerToHyperService<Router>>;

fn connection(router: &Router, stream: TcpStream, peer: SocketAddr) -> Conversation {
    let service = router.clone().layer(Extension(Peer(peer.ip())));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_headers(HEADERS)
        .max_buf_size(HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
}
