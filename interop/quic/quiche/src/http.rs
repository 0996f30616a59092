//! HTTP/0.9 and HTTP/3 on a connection, as little of them as files need.

use crate::Fault;
use quiche::h3::{self, Header, NameValue};
use quiche::{Connection, Error};
use std::collections::HashMap;

/// Ends a stream whose request or answer is nothing that is known here.
const REFUSED: u64 = 1;

/// What came on a stream.
#[derive(Default)]
pub struct Came {
    pub data: Vec<u8>,
    pub is_whole: bool,
    /// A reset, or another status than 200.
    pub is_wrong: bool,
    path: Option<String>,
}

/// What is still to be sent on a stream.
struct Going {
    data: Vec<u8>,
    at: usize,
}

pub struct Http {
    h3: Option<h3::Connection>,
    pub came: HashMap<u64, Came>,
    /// Answers that were not begun yet.
    answers: Vec<(u64, Option<Vec<u8>>)>,
    going: HashMap<u64, Going>,
    next_stream: u64,
    buffer: Vec<u8>,
}

impl Http {
    /// For HTTP/3 the connection has to be ready for streams.
    pub fn new(connection: &mut Connection, is_http3: bool) -> Result<Http, Fault> {
        let h3 = match is_http3 {
            true => Some(h3::Connection::with_transport(
                connection,
                &h3::Config::new()?,
            )?),
            false => None,
        };
        Ok(Http {
            h3,
            came: HashMap::new(),
            answers: Vec::new(),
            going: HashMap::new(),
            next_stream: 0,
            buffer: vec![0; 64 << 10],
        })
    }

    /// Asks for a file, if the server takes another stream now; the stream.
    pub fn ask(
        &mut self,
        connection: &mut Connection,
        name: &str,
        path: &str,
    ) -> Result<Option<u64>, Fault> {
        if connection.peer_streams_left_bidi() == 0 {
            return Ok(None);
        }
        let stream = match &mut self.h3 {
            Some(h3) => {
                let head = [
                    (":method", "GET"),
                    (":scheme", "https"),
                    (":authority", name),
                    (":path", path),
                ];
                let head: Vec<_> = head
                    .iter()
                    .map(|(name, value)| Header::new(name.as_bytes(), value.as_bytes()))
                    .collect();
                match h3.send_request(connection, &head, true) {
                    Ok(stream) => stream,
                    Err(h3::Error::StreamBlocked) => return Ok(None),
                    Err(error) => return Err(error.into()),
                }
            }
            None => {
                let stream = self.next_stream;
                self.next_stream += 4;
                let request = format!("GET {path}\r\n").into_bytes();
                self.going.insert(
                    stream,
                    Going {
                        data: request,
                        at: 0,
                    },
                );
                self.go_on(connection, stream)?;
                stream
            }
        };
        self.came.insert(stream, Came::default());
        Ok(Some(stream))
    }

    /// Takes what arrived.
    pub fn take(&mut self, connection: &mut Connection) -> Result<(), Fault> {
        if self.h3.is_some() {
            return self.take_http3(connection);
        }
        while let Some(stream) = connection.stream_readable_next() {
            loop {
                let came = self.came.entry(stream).or_default();
                match connection.stream_recv(stream, &mut self.buffer) {
                    Ok((length, is_end)) => {
                        came.data.extend_from_slice(&self.buffer[..length]);
                        came.is_whole |= is_end;
                        if is_end {
                            break;
                        }
                    }
                    Err(Error::Done) => break,
                    Err(_) => {
                        came.is_wrong = true;
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    fn take_http3(&mut self, connection: &mut Connection) -> Result<(), Fault> {
        let Some(h3) = &mut self.h3 else {
            return Ok(());
        };
        loop {
            let (stream, event) = match h3.poll(connection) {
                Ok(event) => event,
                Err(h3::Error::Done) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let came = self.came.entry(stream).or_default();
            match event {
                h3::Event::Headers { list, more_frames } => {
                    for header in &list {
                        match header.name() {
                            b":path" => {
                                came.path =
                                    Some(String::from_utf8_lossy(header.value()).into_owned())
                            }
                            b":status" => came.is_wrong |= header.value() != b"200",
                            _ => {}
                        }
                    }
                    came.is_whole |= !more_frames;
                }
                h3::Event::Data => {
                    while let Ok(length) = h3.recv_body(connection, stream, &mut self.buffer) {
                        came.data.extend_from_slice(&self.buffer[..length]);
                    }
                }
                h3::Event::Finished => came.is_whole = true,
                h3::Event::Reset(_) => came.is_wrong = true,
                _ => {}
            }
        }
    }

    /// The requests that came whole: stream and path.
    pub fn requests(&mut self) -> Vec<(u64, String)> {
        let whole: Vec<_> = self
            .came
            .iter()
            .filter(|(_, came)| came.is_whole)
            .map(|(stream, _)| *stream)
            .collect();
        let mut found = Vec::new();
        for stream in whole {
            let Some(came) = self.came.remove(&stream) else {
                continue;
            };
            let words = String::from_utf8_lossy(&came.data).into_owned();
            let asked = words
                .strip_prefix("GET ")
                .map(|rest| rest.trim_end().to_owned());
            found.push((stream, came.path.or(asked).unwrap_or_default()));
        }
        found
    }

    /// Answers a request with a file, or by saying that there is none, as soon as there is room.
    pub fn answer(&mut self, stream: u64, file: Option<Vec<u8>>) {
        self.answers.push((stream, file));
    }

    /// Sends more where there is room now.
    pub fn give(&mut self, connection: &mut Connection) -> Result<(), Fault> {
        for (stream, file) in std::mem::take(&mut self.answers) {
            self.begin(connection, stream, file)?;
        }
        let streams: Vec<_> = self.going.keys().copied().collect();
        streams
            .into_iter()
            .try_for_each(|stream| self.go_on(connection, stream))
    }

    fn begin(
        &mut self,
        connection: &mut Connection,
        stream: u64,
        file: Option<Vec<u8>>,
    ) -> Result<(), Fault> {
        if let Some(h3) = &mut self.h3 {
            let status: &[u8] = if file.is_some() { b"200" } else { b"404" };
            let length = file.as_ref().map_or(0, Vec::len).to_string();
            let head = [
                Header::new(b":status", status),
                Header::new(b"content-length", length.as_bytes()),
            ];
            match h3.send_response(connection, stream, &head, file.is_none()) {
                Ok(()) => {}
                Err(h3::Error::StreamBlocked) => {
                    self.answers.push((stream, file));
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
        match file {
            Some(data) => {
                self.going.insert(stream, Going { data, at: 0 });
            }
            None if self.h3.is_some() => {}
            None => connection.stream_shutdown(stream, quiche::Shutdown::Write, REFUSED)?,
        }
        Ok(())
    }

    fn go_on(&mut self, connection: &mut Connection, stream: u64) -> Result<(), Fault> {
        let Some(going) = self.going.get_mut(&stream) else {
            return Ok(());
        };
        let rest = &going.data[going.at..];
        let sent = match &mut self.h3 {
            Some(h3) => h3
                .send_body(connection, stream, rest, true)
                .map_err(|error| error == h3::Error::Done),
            None => connection
                .stream_send(stream, rest, true)
                .map_err(|error| error == Error::Done),
        };
        match sent {
            Ok(sent) => going.at += sent,
            Err(true) => return Ok(()),
            // The other side wants no more of it.
            Err(false) => going.at = going.data.len(),
        }
        if going.at == going.data.len() {
            self.going.remove(&stream);
        }
        Ok(())
    }
}
