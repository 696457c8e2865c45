//! A pooler in transaction mode, as far as a refusal needs it: when a client is idle, its server session
//! goes back to the pool, and the next statement of any client takes whichever is there.

use diffmig::sandbox::Server;
use std::collections::{BTreeMap, VecDeque};
use std::io::{Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// Which idle session the next statement gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// The one that was used last, as PgBouncer does by default.
    Last,
    /// The one that has waited longest (`server_round_robin`).
    First,
}

const SSL_REQUEST: u32 = 80_877_103;
const PROTOCOL: u32 = 196_608;

struct Pool {
    socket: PathBuf,
    reuse: Reuse,
    idle: Mutex<VecDeque<UnixStream>>,
    parameters: Mutex<Vec<BTreeMap<String, String>>>,
}

/// A running stand-in; its threads end with the connections.
pub struct Pooler {
    pub port: u16,
    pool: Arc<Pool>,
}

impl Pooler {
    /// Listens on a free port and pools two sessions of a server.
    pub fn start(server: &Server, user: &str, database: &str, reuse: Reuse) -> Pooler {
        let socket = server
            .socket_dir()
            .join(format!(".s.PGSQL.{}", server.port()));
        let pool = Arc::new(Pool {
            socket,
            reuse,
            idle: Mutex::default(),
            parameters: Mutex::default(),
        });
        for _ in 0..2 {
            let session = pool.open(user, database).unwrap();
            pool.idle.lock().unwrap().push_back(session);
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::clone(&pool);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let pool = Arc::clone(&shared);
                // A client that goes away ends its thread; the test looks at what the client said.
                std::thread::spawn(move || pool.serve(client));
            }
        });
        Pooler { port, pool }
    }

    /// The start-up parameters of every client so far.
    pub fn parameters(&self) -> Vec<BTreeMap<String, String>> {
        self.pool.parameters.lock().unwrap().clone()
    }
}

impl Pool {
    /// Opens a session over the socket, where the throw-away servers trust everybody.
    fn open(&self, user: &str, database: &str) -> Result<UnixStream> {
        let mut session = UnixStream::connect(&self.socket)?;
        let body = format!("user\0{user}\0database\0{database}\0\0");
        let length = u32::try_from(body.len() + 8).unwrap();
        session.write_all(
            &[
                &length.to_be_bytes()[..],
                &PROTOCOL.to_be_bytes(),
                body.as_bytes(),
            ]
            .concat(),
        )?;
        loop {
            let (kind, _) = read_message(&mut session)?;
            assert_ne!(kind, b'E', "the server refuses the pooler");
            if kind == b'Z' {
                return Ok(session);
            }
        }
    }

    fn serve(&self, mut client: TcpStream) -> Result<()> {
        let mut body = read_body(&mut client)?;
        if body[..4] == SSL_REQUEST.to_be_bytes() {
            client.write_all(b"N")?;
            body = read_body(&mut client)?;
        }
        let words: Vec<String> = body[4..]
            .split(|byte| *byte == 0)
            .map(|it| String::from_utf8_lossy(it).into_owned())
            .collect();
        let pairs = words.chunks_exact(2).filter(|it| !it[0].is_empty());
        let parameters = pairs.map(|it| (it[0].clone(), it[1].clone())).collect();
        self.parameters.lock().unwrap().push(parameters);
        client.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I")?;
        loop {
            self.transaction(&mut client)?;
        }
    }

    /// Lends the client a session until it is idle again.
    fn transaction(&self, client: &mut TcpStream) -> Result<()> {
        let mut message = read_message(client)?;
        let session = {
            let mut idle = self.idle.lock().unwrap();
            match self.reuse {
                Reuse::Last => idle.pop_back(),
                Reuse::First => idle.pop_front(),
            }
        };
        let mut session = session.ok_or_else(|| std::io::Error::other("the pool is empty"))?;
        loop {
            write_message(&mut session, &message)?;
            if matches!(message.0, b'Q' | b'S') && answer(&mut session, client)? {
                self.idle.lock().unwrap().push_back(session);
                return Ok(());
            }
            message = read_message(client)?;
        }
    }
}

/// Passes the server's messages on; `true` when the session is idle after them.
fn answer(session: &mut UnixStream, client: &mut TcpStream) -> Result<bool> {
    loop {
        let message = read_message(session)?;
        write_message(client, &message)?;
        if message.0 == b'Z' {
            return Ok(message.1 == b"I");
        }
    }
}

fn read_body(from: &mut impl Read) -> Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let mut body = vec![0; u32::from_be_bytes(length) as usize - 4];
    from.read_exact(&mut body)?;
    Ok(body)
}

fn read_message(from: &mut impl Read) -> Result<(u8, Vec<u8>)> {
    let mut kind = [0];
    from.read_exact(&mut kind)?;
    Ok((kind[0], read_body(from)?))
}

fn write_message(to: &mut impl Write, (kind, body): &(u8, Vec<u8>)) -> Result<()> {
    let length = u32::try_from(body.len() + 4).unwrap();
    to.write_all(&[&[*kind], &length.to_be_bytes()[..], body].concat())
}
