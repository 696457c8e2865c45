//! A proxy between diffmig and a server that counts protocol messages and does harm at one of them.
//!
//! Connections and messages are numbered from 1, in the order of their arrival since the last
//! [`Proxy::arm`]; message 1 is the start-up message. A rule fires once, so reconnects get through.

use super::wire::{Frame, Reader, Splitter, is_commit};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// How long the server may take to answer a message whose answer is to be lost.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// On which side of a message a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The message never reaches the server.
    Before,
    /// The server carries the message out; the client never hears of it.
    After,
}

/// What the proxy does to the traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Nothing.
    Pass,
    /// Cuts a connection at a message, once.
    CutAt {
        connection: usize,
        message: usize,
        moment: Moment,
    },
    /// Lets the n-th COMMIT happen and loses its answer, once.
    DropReplyOf { commit: usize },
    /// From a message on, parks all bytes of its connection; the sockets stay open. Once.
    BlackHole { connection: usize, message: usize },
    /// Holds every message of the client back for a while.
    Delay(Duration),
    /// Lets so many bytes through in a second, in each direction of each connection.
    Throttle(u32),
}

/// A message that a client sent.
#[derive(Debug, Clone)]
pub struct Seen {
    pub connection: usize,
    pub message: usize,
    /// The tag, or a blank for the start-up message.
    pub tag: char,
    /// The beginning of the statement it is about.
    pub statement: String,
    /// Whether the server answers right after it.
    pub is_answered: bool,
    /// Whether it makes the server commit.
    pub is_commit: bool,
}

#[derive(Debug)]
struct State {
    rule: Rule,
    connections: usize,
    commits: usize,
    trace: Vec<Seen>,
    fired: watch::Sender<bool>,
    /// Cancelled when another rule is armed: connections of the time before end.
    era: CancellationToken,
}

/// What is to be done about a message.
enum Verdict {
    Forward,
    Cut(Moment),
    Park,
    Hold(Duration),
}

impl State {
    fn judge(&mut self, seen: Seen) -> Verdict {
        let (connection, message) = (seen.connection, seen.message);
        self.commits += usize::from(seen.is_commit);
        let nth = self.commits;
        let commits = seen.is_commit;
        self.trace.push(seen);
        let verdict = match self.rule {
            Rule::Delay(pause) => return Verdict::Hold(pause),
            _ if *self.fired.borrow() => Verdict::Forward,
            Rule::CutAt {
                connection: c,
                message: m,
                moment,
            } if (c, m) == (connection, message) => Verdict::Cut(moment),
            Rule::DropReplyOf { commit } if commits && nth == commit => Verdict::Cut(Moment::After),
            Rule::BlackHole {
                connection: c,
                message: m,
            } if (c, m) == (connection, message) => Verdict::Park,
            _ => Verdict::Forward,
        };
        // What is lost after a message is lost once its answer is there.
        if matches!(verdict, Verdict::Park | Verdict::Cut(Moment::Before)) {
            self.fired.send_replace(true);
        }
        verdict
    }
}

/// A listening proxy; dropping it ends every connection.
pub struct Proxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    listening: tokio::task::JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.lock().unwrap().era.cancel();
        self.listening.abort();
    }
}

impl Proxy {
    /// Listens on a free port and forwards to a server on loopback.
    pub async fn start(server_port: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            rule: Rule::Pass,
            connections: 0,
            commits: 0,
            trace: Vec::new(),
            fired: watch::Sender::new(false),
            era: CancellationToken::new(),
        }));
        let shared = Arc::clone(&state);
        let listening = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (number, era) = {
                    let mut state = shared.lock().unwrap();
                    state.connections += 1;
                    (state.connections, state.era.clone())
                };
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    let served = Box::pin(serve(client, server_port, number, shared));
                    // When the era ends, both sockets are dropped wherever the bytes stand.
                    let _ = era.run_until_cancelled(served).await;
                });
            }
        });
        Proxy {
            address,
            state,
            listening,
        }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Ends every connection, forgets the trace and sets another rule.
    pub fn arm(&self, rule: Rule) {
        let mut state = self.state.lock().unwrap();
        state.era.cancel();
        *state = State {
            rule,
            connections: 0,
            commits: 0,
            trace: Vec::new(),
            fired: watch::Sender::new(false),
            era: CancellationToken::new(),
        };
    }

    /// Returns what clients have sent since the rule was armed.
    pub fn trace(&self) -> Vec<Seen> {
        self.state.lock().unwrap().trace.clone()
    }

    /// Tells whether the rule has done its harm.
    pub fn has_fired(&self) -> bool {
        *self.state.lock().unwrap().fired.borrow()
    }

    /// Waits until the rule has done its harm.
    pub async fn fired(&self) {
        let mut fired = self.state.lock().unwrap().fired.subscribe();
        // An error means that another rule was armed: then there is nothing to wait for.
        let _ = fired.wait_for(|it| *it).await;
    }
}

/// What the answering direction does with the bytes of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gate {
    Open,
    /// Reads answers and keeps them from the client.
    Swallow,
    Parked,
}

async fn serve(mut client: TcpStream, port: u16, number: usize, state: Arc<Mutex<State>>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else {
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let mut splitter = Splitter::of_client();
    let Some(first) = first_frame(&mut client, &mut splitter).await else {
        return;
    };
    let rate = match state.lock().unwrap().rule {
        Rule::Throttle(rate) => Some(rate),
        _ => None,
    };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (gate, watched) = watch::channel(Gate::Open);
    let (answered, answers) = mpsc::unbounded_channel();
    let asking = Asking {
        number,
        message: 0,
        reader: Reader::default(),
        state,
        rate,
        gate,
        answers,
    };
    let answering = answer(from_server, to_client, watched, answered, rate);
    tokio::pin!(answering);
    tokio::select! {
        end = asking.run(first, splitter, from_client, to_server) => {
            if end == End::OfItself {
                // The client has said its last; the server answers and goes too.
                let _ = tokio::time::timeout(ANSWER_LIMIT, answering.as_mut()).await;
            }
        }
        () = &mut answering => {}
    }
}

/// Reads up to the start-up message; wishes for encryption are refused, as these servers have none.
async fn first_frame(client: &mut TcpStream, splitter: &mut Splitter) -> Option<Frame> {
    let mut bytes = [0; 1024];
    loop {
        if let Some(frame) = splitter.next_frame() {
            if !frame.is_encryption_request() {
                return Some(frame);
            }
            client.write_all(b"N").await.ok()?;
        }
        let count = client.read(&mut bytes).await.ok().filter(|it| *it > 0)?;
        splitter.push(&bytes[..count]);
    }
}

/// Forwards what the server says, as far as the gate lets it through, and reports ends of answers.
async fn answer(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    gate: watch::Receiver<Gate>,
    answered: mpsc::UnboundedSender<()>,
    rate: Option<u32>,
) {
    let mut splitter = Splitter::of_server();
    let mut bytes = [0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        splitter.push(&bytes[..count]);
        let gate = *gate.borrow();
        match gate {
            Gate::Swallow => {}
            Gate::Parked => std::future::pending().await,
            Gate::Open => {
                slowly(rate, count).await;
                if to.write_all(&bytes[..count]).await.is_err() {
                    return;
                }
            }
        }
        while let Some(frame) = splitter.next_frame() {
            if frame.ends_answer() {
                let _ = answered.send(());
            }
        }
    }
    let _ = to.shutdown().await;
}

/// Takes as long as so many bytes take at a rate.
async fn slowly(rate: Option<u32>, bytes: usize) {
    if let Some(rate) = rate {
        let bytes = u32::try_from(bytes).unwrap();
        tokio::time::sleep(Duration::from_secs(1) * bytes / rate).await;
    }
}

/// How the client's direction of a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    OfItself,
    ByForce,
}

/// The direction from client to server.
struct Asking {
    number: usize,
    message: usize,
    reader: Reader,
    state: Arc<Mutex<State>>,
    rate: Option<u32>,
    gate: watch::Sender<Gate>,
    answers: mpsc::UnboundedReceiver<()>,
}

impl Asking {
    async fn run(
        mut self,
        first: Frame,
        mut splitter: Splitter,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
    ) -> End {
        let mut bytes = [0; 16 * 1024];
        let mut next = Some(first);
        loop {
            while let Some(frame) = next.take().or_else(|| splitter.next_frame()) {
                if self.pass(&frame, &from, &mut to).await == Some(End::ByForce) {
                    return End::ByForce;
                }
            }
            match from.read(&mut bytes).await {
                Ok(count @ 1..) => splitter.push(&bytes[..count]),
                _ => {
                    let _ = to.shutdown().await;
                    return End::OfItself;
                }
            }
        }
    }

    /// Does with a message what the rule says; returns the end if this was the last one.
    async fn pass(
        &mut self,
        frame: &Frame,
        from: &OwnedReadHalf,
        to: &mut OwnedWriteHalf,
    ) -> Option<End> {
        match self.judge(frame) {
            Verdict::Forward => {}
            Verdict::Hold(pause) => tokio::time::sleep(pause).await,
            Verdict::Park => {
                self.gate.send_replace(Gate::Parked);
                std::future::pending::<()>().await;
            }
            Verdict::Cut(Moment::Before) => {
                // The client's side is reset; the server sees what came before, then the end.
                let _ = from.as_ref().set_zero_linger();
                return Some(End::ByForce);
            }
            Verdict::Cut(Moment::After) => {
                self.lose_answer(frame, to).await;
                let _ = from.as_ref().set_zero_linger();
                let _ = to.as_ref().set_zero_linger();
                self.state.lock().unwrap().fired.send_replace(true);
                return Some(End::ByForce);
            }
        }
        slowly(self.rate, frame.bytes.len()).await;
        let sent = to.write_all(&frame.bytes).await;
        sent.is_err().then_some(End::ByForce)
    }

    fn judge(&mut self, frame: &Frame) -> Verdict {
        self.message += 1;
        let statement = self.reader.take(frame);
        self.state.lock().unwrap().judge(Seen {
            connection: self.number,
            message: self.message,
            tag: frame.tag.map_or(' ', char::from),
            is_answered: frame.is_answered(),
            is_commit: is_commit(frame, &statement),
            statement,
        })
    }

    /// Forwards a message and waits until the server has carried it out, without a word to the client.
    async fn lose_answer(&mut self, frame: &Frame, to: &mut OwnedWriteHalf) {
        self.gate.send_replace(Gate::Swallow);
        while self.answers.try_recv().is_ok() {}
        if to.write_all(&frame.bytes).await.is_ok() && frame.is_answered() {
            let _ = tokio::time::timeout(ANSWER_LIMIT, self.answers.recv()).await;
        }
    }
}
