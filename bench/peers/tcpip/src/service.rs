//! What a server does with a connection, for stacks that are asked what they can read and write.

use bench_common::report::rss_bytes;

use crate::args::MESSAGE;

/// What a connection is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Service {
    /// Not told yet.
    #[default]
    Unknown,
    /// Messages are answered; so many bytes of one are here.
    Answer(usize),
    /// Bytes are counted.
    Count(u64),
    /// Bytes are sent.
    Give,
    /// The answer was given.
    Done,
}

/// A connection as a service sees it.
pub trait Pipe {
    /// Takes what can be read, at most `into`; `None` when the peer has ended, 0 when there is nothing now.
    fn read(&mut self, into: &mut [u8]) -> Option<usize>;
    /// Gives bytes to be sent; how many were taken.
    fn write(&mut self, bytes: &[u8]) -> usize;
    /// Ends our direction.
    fn close(&mut self);
}

/// Zeros to send.
static ZEROS: [u8; 1 << 18] = [0; 1 << 18];

impl Service {
    /// Does what can be done now.
    pub fn go_on(&mut self, pipe: &mut impl Pipe, scratch: &mut [u8]) {
        loop {
            match self {
                Service::Unknown => match pipe.read(&mut scratch[..1]) {
                    Some(0) => return,
                    Some(_) => *self = Service::begin(scratch[0], pipe),
                    None => return self.end(pipe),
                },
                Service::Answer(got) => {
                    let want = MESSAGE - *got;
                    match pipe.read(&mut scratch[..want]) {
                        Some(0) => return,
                        Some(count) if count == want => {
                            *got = 0;
                            pipe.write(&ZEROS[..MESSAGE]);
                        }
                        Some(count) => *got += count,
                        None => return self.end(pipe),
                    }
                }
                Service::Count(count) => match pipe.read(scratch) {
                    Some(0) => return,
                    Some(more) => *count += more as u64,
                    None => {
                        pipe.write(&count.to_be_bytes());
                        return self.end(pipe);
                    }
                },
                Service::Give => {
                    if pipe.write(&ZEROS) == 0 {
                        if pipe.read(&mut scratch[..1]).is_none() {
                            self.end(pipe);
                        }
                        return;
                    }
                }
                Service::Done => return,
            }
        }
    }

    fn begin(what: u8, pipe: &mut impl Pipe) -> Service {
        match what {
            b'R' => Service::Answer(0),
            b'S' => Service::Count(0),
            b'G' => Service::Give,
            b'M' => {
                pipe.write(&rss_bytes().to_be_bytes());
                pipe.close();
                Service::Done
            }
            _ => Service::Done,
        }
    }

    fn end(&mut self, pipe: &mut impl Pipe) {
        pipe.close();
        *self = Service::Done;
    }
}
